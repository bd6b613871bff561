# The timer deploys what is new, goes back to nothing and tries nothing twice; what went wrong is a failed unit.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
in
test {
  name = "nixgate-pull-timer";
  host.services.nixgate.pull = {
    enable = true;
    interval = "*:*:0/5";
    randomizedDelay = "0";
  };
  candidates = {
    good = marked "well: good";
    better = marked "well: better";
    sick = marked "sick";
  };
  script = ''
    def said(text):
        return f"journalctl --quiet --output=cat --unit nixgate-pull.service | grep -q '{text}'"

    commit("good")
    await_marker("well: good")
    host.succeed("grep -q timer /var/lib/nixgate/audit/log.jsonl")

    commit("sick")
    host.wait_until_succeeds(said("result=reverted"))
    await_marker("well: good")
    host.wait_until_succeeds(said("the timer does not try it again"))
    host.wait_until_succeeds("systemctl is-failed --quiet nixgate-pull.service")

    # A branch that was set back is not followed.
    client.succeed("cd /root/infra && git push --quiet --force origin HEAD~2:main && chown -R git:git /srv/git")
    host.wait_until_succeeds("systemctl is-failed --quiet nixgate-pull.service")
    assert marker() == "well: good"

    commit("better")
    await_marker("well: better")
  '';
}
