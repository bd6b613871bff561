# A power cut during a trial boots the old system, and one after the commit the new one; each is on record.
nixgate:
let
  inherit (import ./lib nixgate) marked slow test;
in
test {
  name = "nixgate-power-cut";
  candidates = {
    slow = slow 120;
    good = marked "well: good";
  };
  script = ''
    def power_cut():
        host.crash()
        host.start(allow_reboot=True)
        host.wait_for_unit("multi-user.target")
        host.wait_for_open_port(22)

    commit("slow")
    in_background("switch")
    host.wait_until_succeeds("systemctl is-active --quiet nixgate-activate.service")
    await_marker("well: slow")
    power_cut()
    assert marker() == "well: as installed"
    is_settled(installed)
    client.wait_until_succeeds("test -e /tmp/code")
    host.wait_until_succeeds("grep -q '\"job\": *null' /var/lib/nixgate/state.json")
    assert "reverted by a restart of the host" in deploy("attach", expect=20)["said"]

    commit("good")
    answer = deploy("switch")
    power_cut()
    assert marker() == "well: good"
    is_settled((answer["new"],) * 3)
  '';
}
