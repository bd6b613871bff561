# A host that evaluates and builds nothing: CI builds, a cache serves, a signed manifest says what to run.
nixgate:
let
  inherit (import ./lib nixgate) marked test;
  # Known to everybody, and good for this test alone.
  cacheKey = import ./lib/cache-key.nix;
in
test {
  name = "nixgate-prebuilt";
  host =
    { lib, ... }:
    {
      nix.settings = {
        trusted-substituters = [ "http://client:5000" ];
        trusted-public-keys = [ cacheKey.public ];
        # It could build nothing.
        max-jobs = lib.mkForce 0;
      };
      services.nixgate.settings = {
        source = {
          kind = "prebuilt";
          caches = [ "http://client:5000" ];
          cache-keys = [ cacheKey.public ];
        };
        trust.first-sequence = 1;
      };
    };
  client =
    {
      lib,
      nodes,
      pkgs,
      ...
    }:
    {
      virtualisation.memorySize = 2048;
      virtualisation.diskSize = 8192;
      # What CI builds from.
      virtualisation.additionalPaths = [
        nodes.host.specialisation.good.configuration.system.build.toplevel
      ]
      ++ import ./lib/tools.nix pkgs;
      nix.settings.substituters = lib.mkForce [ ];
      nix.settings.experimental-features = [
        "nix-command"
        "flakes"
      ];
      environment.systemPackages = [ nodes.host.services.nixgate.package ];
      services.nix-serve = {
        enable = true;
        openFirewall = true;
        secretKeyFile = toString (pkgs.writeText "cache-key" cacheKey.secret);
      };
    };
  candidates.good = marked "well: good";
  script = ''
    client.wait_for_open_port(5000)
    built = commit("good")
    system = client.succeed(
        "nix build --no-link --print-out-paths 'git+file:///root/infra#nixosConfigurations.host.config.system.build.toplevel'"
    ).strip()
    host.fail(f"test -e {system}")

    def publish(sequence, valid="7d"):
        client.succeed(
            f"nixgatectl manifest sign --host host --path {system} --commit {built} --sequence {sequence} "
            f"--valid-for {valid} --key /etc/signing-key --output /root/infra/nixgate && "
            "cd /root/infra && git add nixgate && git commit --quiet -m manifest && git push --quiet origin HEAD:main && "
            "chown -R git:git /srv/git"
        )

    deploy("switch", expect=10)
    publish(2)
    answer = deploy(f"switch {built}")
    assert answer["result"] == "committed", answer
    assert answer["new"] == system
    is_settled((system,) * 3)
    assert marker() == "well: good"

    # An older manifest is not taken.
    publish(1)
    deploy("switch", expect=11)
    is_settled((system,) * 3)
  '';
}
