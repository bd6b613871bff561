# The same with sudo-rs: a good system stays and a sick one does not.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
in
test {
  name = "nixgate-sudo-rs";
  host.security = {
    sudo.enable = false;
    sudo-rs.enable = true;
  };
  candidates = {
    good = marked "well: good";
    sick = marked "sick";
  };
  script = ''
    assert "sudo-rs" in host.succeed("sudo --version 2>&1")
    commit("good")
    answer = deploy("switch")
    assert answer["result"] == "committed", answer
    good = (answer["new"],) * 3
    is_settled(good)

    commit("sick")
    assert deploy("switch", expect=21)["result"] == "reverted"
    is_settled(good)
    assert deploy("rollback")["result"] == "committed"
    is_settled(installed)
  '';
}
