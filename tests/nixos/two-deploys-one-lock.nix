# One deploy at a time: the same request joins it, another one is told who is at work.
nixgate:
let
  inherit (import ./lib nixgate) slow test;
in
test {
  name = "nixgate-two-deploys-one-lock";
  candidates.slow = slow 30;
  script = ''
    commit("slow")
    in_background("switch")
    host.wait_until_succeeds("systemctl is-active --quiet nixgate-activate.service")
    assert "busy" in deploy("boot", expect=75)["said"]
    # An administrator who switches by hand meets the lock of NixOS itself.
    host.fail("/run/booted-system/bin/switch-to-configuration test")

    joined = deploy("switch")
    client.wait_until_succeeds("grep -qx 0 /tmp/code")
    assert joined["result"] == "committed", joined
    assert joined["job"] in client.succeed("cat /tmp/said")
    is_settled((joined["new"],) * 3)
  '';
}
