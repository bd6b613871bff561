# What the scripts of all tests begin with. `host` and `client` are the machines, `flakes` the files of the candidates by name.
from typing import Dict, Tuple

client.start()
host.start(allow_reboot=True)
for machine in [client, host]:
    machine.wait_for_unit("multi-user.target")
    machine.wait_for_open_port(22)
host.wait_for_unit("nixgate.socket")
host.wait_for_unit("nixgate-control.socket")


def commit(name: str) -> str:
    """Pushes a signed commit with a candidate's flake."""
    return client.succeed(f"infra-commit {flakes[name]}").strip()


def deploy(request: str, expect: int = 0) -> Dict[str, str]:
    """Asks over ssh; the pairs of the last line, and all that was said as `said`."""
    code, said = client.execute(f"ssh deploy@host {request} </dev/null 2>&1", timeout=900)
    assert code == expect, f"{request}: {code}, not {expect}\n{said}"
    lines = [line for line in said.splitlines() if line.startswith("nixgate: v=")]
    words = lines[-1].split(" ")[1:] if lines else []
    return {**dict(word.split("=", 1) for word in words), "said": said}


def in_background(request: str) -> None:
    """A client that runs on; its exit code will be in /tmp/code."""
    client.succeed("rm -f /tmp/code")
    client.succeed(f"(ssh deploy@host {request} </dev/null >/tmp/said 2>&1; echo $? >/tmp/code) >/dev/null 2>&1 &")


def link(path: str) -> str:
    return host.succeed(f"readlink -f {path}").strip()


def boot_default() -> str:
    """The system that systemd-boot would start."""
    entry = host.succeed("sed -n 's/^default //p' /boot/loader/loader.conf").strip()
    find = "s|^options .*init=\\([^ ]*\\)/init.*|\\1|p"
    return host.succeed(f"sed -n '{find}' /boot/loader/entries/{entry}").strip()


def stands() -> Tuple[str, str, str]:
    """What runs, what the profile names, and what the next boot starts."""
    return (link("/run/current-system"), link("/nix/var/nix/profiles/system"), boot_default())


def marker() -> str:
    return host.succeed("cat /etc/marker").strip()


def await_marker(text: str) -> None:
    host.wait_until_succeeds(f"grep -qx '{text}' /etc/marker")


def is_settled(system: Tuple[str, str, str]) -> None:
    """Nothing of a deploy is left: the host stands where it is said to, and nothing of ours waits or has failed."""
    host.wait_until_succeeds("systemctl is-active --quiet sshd.service")
    host.wait_until_fails("systemctl is-active --quiet nixgate-revert.timer nixgate-revert.service nixgate-activate.service")
    assert stands() == system, f"{stands()}, not {system}"


first = client.succeed("infra-commit /dev/null").strip()
host.succeed(f"nixgatectl anchor --set {first}")
installed = stands()
assert installed[0] == installed[1] == installed[2], installed
