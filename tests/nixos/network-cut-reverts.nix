# A system that takes the host off the network is never confirmed, and the one before it returns.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
in
test {
  name = "nixgate-network-cut-reverts";
  host.services.nixgate.settings = {
    confirm.mode = "required";
    # The forge is out of reach, too; here it is the confirmation that has to be missed.
    health.source = false;
  };
  candidates = {
    good = marked "well: good";
    cut =
      { pkgs, ... }:
      {
        environment.etc."marker".text = "well: cut off\n";
        systemd.services.cut = {
          description = "Takes the host off the network";
          wantedBy = [ "multi-user.target" ];
          path = [ pkgs.iproute2 ];
          serviceConfig.Type = "oneshot";
          serviceConfig.RemainAfterExit = true;
          script = "ip link set eth1 down";
          preStop = "ip link set eth1 up";
        };
      };
  };
  script = ''
    commit("cut")
    in_background("switch")
    await_marker("well: cut off")
    client.fail("ping -c 1 -W 2 host")
    await_marker("well: as installed")
    is_settled(installed)
    client.wait_until_succeeds("ping -c 1 host")
    answer = deploy("attach", expect=22)
    assert answer["result"] == "reverted", answer

    # With a confirmation over a new connection a deploy stays.
    commit("good")
    in_background("switch")
    client.wait_until_succeeds("grep -q 'over a new connection' /tmp/said")
    deploy("confirm")
    client.wait_until_succeeds("grep -qx 0 /tmp/code")
    assert marker() == "well: good"
    assert deploy("attach")["reachability"] == "proven"
  '';
}
