# A client that is gone changes nothing: the job ends as it would have, and `attach` has all of it.
nixgate:
let
  inherit (import ./lib nixgate) slow test;
in
test {
  name = "nixgate-client-hangs-up";
  candidates.slow = slow 15;
  script = ''
    commit("slow")
    in_background("switch")
    host.wait_until_succeeds("systemctl is-active --quiet nixgate-activate.service")
    client.succeed("pkill -9 -x ssh")
    answer = deploy("attach")
    assert answer["result"] == "committed", answer
    assert marker() == "well: slow"
    is_settled((answer["new"],) * 3)
  '';
}
