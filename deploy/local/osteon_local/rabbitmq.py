"""A private RabbitMQ node without systemd and without the host's epmd (Debian: rabbitmq-server)."""

import os
import signal
from pathlib import Path
from typing import ClassVar

from osteon_local.part import Part, PartError, find_binary, free_port, tcp_exchange
from osteon_local.process import Process

_INSTALL = "apt-get install --no-install-recommends -y rabbitmq-server"
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
log.console = true
log.console.level = warning
log.file = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 33554432
"""


class RabbitMQ(Part):
    """RabbitMQ on `port`, user `guest`."""

    name: ClassVar[str] = "rabbitmq"

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._epmd: Process | None = None

    @property
    def url(self) -> str:
        """AMQP URL of the default virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def prepare(self) -> Process:
        """Write the configuration; the node's data folder is made by the first start."""
        # Debian's wrapper in /usr/sbin insists on root or the user rabbitmq; the script behind it does not.
        server = find_binary("rabbitmq-server", "/usr/lib/rabbitmq/bin", install=_INSTALL)
        epmd = find_binary("epmd", "/usr/lib/erlang/bin", install=_INSTALL)
        (self.folder / "rabbitmq.conf").write_text(_CONFIG.format(port=self.port))
        (self.folder / "enabled_plugins").write_text("[].\n")
        env = self._environment()
        self._epmd = Process(
            [epmd, "-address", "127.0.0.1", "-port", str(self._epmd_port)], log=self.folder / "epmd.log", env=env
        )
        return Process([server], log=self.log, cwd=self.folder, env=env, stop_signal=signal.SIGTERM)

    def launch(self) -> None:
        """Start epmd and the node without waiting."""
        if self._process is None:
            self._process = self.prepare()
        if self._epmd is not None and not self._epmd.alive:
            self._epmd.start()
        self._process.start()

    def stop(self, grace: float = 15.0) -> None:
        """Shut the node and its epmd down."""
        super().stop(grace)
        if self._epmd is not None:
            self._epmd.stop()

    def probe(self) -> str:
        """The listener opens last; a broker that is ready answers the protocol header with Connection.Start."""
        try:
            answer = tcp_exchange(self.port, b"AMQP\x00\x00\x09\x01")
        except OSError as error:
            return str(error)
        return "" if answer == b"\x01" else "no Connection.Start"

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against the node and return its output; slow (an Erlang VM starts)."""
        import subprocess

        program = find_binary("rabbitmqctl", "/usr/lib/rabbitmq/bin", install=_INSTALL)
        done = subprocess.run(
            [program, "--quiet", *arguments], env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PartError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": "osteon@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            # Makes the script become the Erlang VM, so that our signals reach it; -noinput is what it leaves out then.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1} +B i",
        }
