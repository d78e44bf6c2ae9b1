#!/bin/sh
# Installs the Debian packages that the tests and `make cluster` use, when they are missing.
set -eu

missing=""
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v dcmdump >/dev/null 2>&1 || missing="$missing dcmtk"
command -v setpriv >/dev/null 2>&1 || missing="$missing util-linux"
[ -n "$missing" ] || exit 0

command="apt-get install --no-install-recommends -y$missing"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "Programs are missing that the tests use. Install them, then repeat:  sudo $command" >&2
    exit 1
fi

# Only the programs: the packages must not start servers of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
echo "Installing:$missing"
apt-get update -qq
# shellcheck disable=SC2086  # a list of package names
apt-get install --no-install-recommends -y -qq $missing >/dev/null
