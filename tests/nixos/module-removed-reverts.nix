# A system without nixgate takes the job's rules, units and account away in the middle of its trial. The dead man's switch, which is
# systemd's alone, brings them back.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
in
test {
  name = "nixgate-module-removed-reverts";
  host.services.nixgate.settings = {
    # By default such a candidate is not even tried.
    preflight.lock-out = "allow";
    limits.activation = "1m";
    limits.health = "20s";
  };
  candidates = {
    good = marked "well: good";
    without =
      { lib, ... }:
      {
        environment.etc."marker".text = "well: without nixgate\n";
        services.nixgate.enable = lib.mkForce false;
      };
  };
  script = ''
    commit("without")
    in_background("switch")
    await_marker("well: without nixgate")
    await_marker("well: as installed")
    is_settled(installed)
    answer = deploy("attach", expect=21)
    assert answer["result"] == "reverted", answer

    commit("good")
    assert deploy("switch")["result"] == "committed"
  '';
}
