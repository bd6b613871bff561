# [source], [refs], [trust] and [[input-key]]: what is deployed, and who has to vouch for it.
{ config, lib }:
let
  inherit (import ./types.nix { inherit lib; })
    commit
    duration
    example
    name
    option
    optional
    required
    secret
    table
    tables
    ;
  inherit (lib) mkOption types;
  cfg = config.services.nixgate;

  branch =
    verb:
    option (types.strMatching "[A-Za-z0-9][A-Za-z0-9._/-]*") "main"
      "The branch that `${verb}` takes its commit from.";
in
{
  source = table "Where systems come from." {
    kind =
      option
        (types.enum [
          "flake"
          "nix"
          "prebuilt"
        ])
        "flake"
        "Whether the host evaluates a flake or a file of Nix, or takes what CI built by signed manifests (docs/prebuilt.md).";
    url = example "ssh://git@forge.example.org/infra.git" (
      required (types.strMatching "(ssh|https)://.+") "The repository. Its host key stands in `services.nixgate.knownHosts`."
    );
    system = mkOption {
      type = name;
      default = config.networking.hostName;
      defaultText = lib.literalExpression "config.networking.hostName";
      description = "The name of this host in the repository: `nixosConfigurations.NAME`.";
    };
    attribute = example "hosts.web1.toplevel" (
      optional types.singleLineStr "The attribute of the system, where it is not the usual one of its kind."
    );
    file = example "nix/hosts.nix" (
      optional types.singleLineStr "Of kind `nix`: the file that is evaluated, instead of default.nix."
    );
    ssh-key = mkOption {
      type = types.nullOr secret;
      default = if cfg.credentials ? source then "$CREDENTIALS_DIRECTORY/source" else null;
      defaultText = lib.literalMD "the credential `source` if there is one, else nixgate's default, `/var/lib/nixgate/keys/source`";
      description = "Where the repository's read key is on the host: a file of account nixgate with mode 0600, or a credential. It never belongs into the store.";
    };
    import-from-derivation =
      option types.bool false
        "Whether the evaluation may build, and read what it built.";
    access-tokens-file = example "/var/lib/nixgate/keys/tokens" (
      optional secret "For private inputs: a file of `host=token` lines, account nixgate's with mode 0600, or a credential."
    );
    caches = example [ "https://cache.example.org" ] (
      optional (types.listOf (types.strMatching "https?://.+")) "Of kind `prebuilt`: where systems are taken from. `nix.settings.trusted-substituters` has to name them, too."
    );
    cache-keys = example [ "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ] (
      optional (types.listOf (types.strMatching "[A-Za-z0-9._-]+:[A-Za-z0-9+/]{43}=")) "Of kind `prebuilt`: who has to have signed what is taken. `nix.settings.trusted-public-keys` has to name them, too."
    );
  };

  input-key =
    tables
      "Private inputs of a flake: the ssh key of each host. Without a table the source's host is opened with `source.ssh-key`."
      {
        host = example "forge.example.org" (required (types.strMatching "[A-Za-z0-9._-]+") "The host.");
        key = example "/var/lib/nixgate/keys/inputs" (
          required secret "Its key: a file of account nixgate with mode 0600, or a credential."
        );
      };

  refs = table "The branch that each verb takes its commit from." (
    lib.genAttrs [ "fetch" "switch" "test" "boot" ] branch
  );

  trust = table "What makes a commit trusted." {
    signatures = option (types.enum [
      "tip"
      "every-commit"
      "none"
    ]) "tip" "Which commits have to be signed. With `none`, whoever may push is root on this host.";
    max-commit-age = example "90d" (
      optional duration "Nothing older is taken (1h to 366d), so that a forge cannot withhold new commits unnoticed."
    );
    first-commit = example "0123456789abcdef0123456789abcdef01234567" (
      optional commit "What the first deploy has to descend from, on a host whose system names no commit."
    );
    first-sequence = example 1 (
      optional types.ints.positive "Of kind `prebuilt`: no manifest below it is taken; the first deploy needs it."
    );
  };
}
