# A system that is not well does not stay: what ran before runs again, and neither profile nor boot default was ever touched.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
in
test {
  name = "nixgate-health-fails-reverts";
  candidates = {
    good = marked "well: good";
    sick = marked "sick";
    # A unit that fails is no health, either.
    failing = {
      environment.etc."marker".text = "well: but a unit fails\n";
      systemd.services.fails = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.Type = "oneshot";
        script = "exit 1";
      };
    };
  };
  script = ''
    for bad in ["sick", "failing"]:
        commit(bad)
        answer = deploy("switch", expect=21)
        assert answer["result"] == "reverted", answer
        assert marker() == "well: as installed"
        is_settled(installed)

    commit("good")
    assert deploy("switch")["result"] == "committed"
    assert marker() == "well: good"
  '';
}
