# A good system becomes what runs, what the profile names and what the next boot starts; asking again changes nothing.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
in
test {
  name = "nixgate-deploy-good";
  candidates.good = marked "well: good";
  script = ''
    commit("good")
    answer = deploy("fetch")
    assert stands() == installed, "fetch activates nothing"

    answer = deploy("switch")
    assert answer["result"] == "committed", answer
    assert marker() == "well: good"
    new = stands()
    assert new == (answer["new"],) * 3, (new, answer)

    answer = deploy("switch")
    assert answer["result"] == "unchanged", answer
    is_settled(new)

    host.reboot()
    host.wait_for_unit("multi-user.target")
    assert stands() == new
    assert marker() == "well: good"
    deploy("status")
  '';
}
