# nixgate deploys another nixgate: the job that does it lives through the restart of its own units, and ends by itself.
nixgate:
let
  inherit (import ./lib nixgate) test;
in
test {
  name = "nixgate-self-upgrade";
  candidates.next =
    { lib, pkgs, ... }:
    {
      environment.etc."marker".text = "well: next\n";
      # The same programs at another path, and another unit of the job.
      services.nixgate.package = lib.mkForce (
        pkgs.symlinkJoin {
          name = "nixgate-next";
          paths = [ (pkgs.callPackage ../../nix/package.nix { }) ];
        }
      );
      services.nixgate.credentials.more = "/etc/read-key";
    };
  script = ''
    before = link("/run/current-system/sw/bin/nixgate-job")
    unit = host.succeed("systemctl cat nixgate@.service")
    commit("next")
    answer = deploy("switch")
    assert answer["result"] == "committed", answer
    assert marker() == "well: next"
    is_settled((answer["new"],) * 3)
    assert host.succeed("systemctl cat nixgate@.service") != unit
    assert "nixgate-next" in host.succeed("readlink /run/current-system/sw/bin/nixgate-job")
    assert link("/run/current-system/sw/bin/nixgate-job") == before
    assert deploy("switch")["result"] == "unchanged"
  '';
}
