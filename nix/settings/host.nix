# [limits], [space], [preflight], [specialisation], [confirm], [revert], [boot] and [sshd]: how a deploy goes on this host.
{ config, lib }:
let
  inherit (import ./types.nix { inherit lib; })
    bytes
    confirm
    duration
    example
    name
    option
    optional
    size
    table
    unit
    ;
  inherit (lib) mkOption types;
  ofVerb = verb: optional confirm "The same for `${verb}` alone.";
  keptBy = verb: optional (types.listOf name) "The same for `${verb}` alone.";
in
{
  limits = table "How long each part of a deploy may take, and how much." {
    fetch = option duration "2m" "Fetching the repository.";
    fetch-size =
      option size "1G"
        "How much one fetch may bring, and git take of memory for it: 16M to 1024G.";
    evaluation =
      option duration "10m"
        "The evaluation; with import from derivation, what is built for it is part of it.";
    evaluation-memory = option size "4G" "How much memory the evaluation may take: 16M to 1024G.";
    build = option duration "1h" "The build.";
    check = option duration "1m" "`switch-to-configuration check`.";
    activation = option duration "5m" "`switch-to-configuration test`.";
    health = option duration "1m" "All health checks together.";
    confirm = option duration "2m" "The wait for `confirm`.";
    revert = option duration "5m" "Activating the old system again.";
    wait =
      option duration "0s"
        "The wait for another job, or a nixos-rebuild, that is at work; `0s`: busy (75) at once.";
  };

  space =
    table
      "What must stay free before a deploy, beside what the candidate itself needs; `0` asks for nothing."
      {
        store = option bytes "1G" "Where /nix/store and /nix/var are.";
        state = option bytes "64M" "Where /var/lib/nixgate is.";
        boot = option bytes "4M" "Where /boot is, after a kernel and an initrd that are not there yet.";
        inodes = option types.ints.unsigned 10000 "On each of them that counts inodes.";
      };

  preflight = table "What becomes of candidates that could do harm (docs/preflight.md)." {
    lock-out =
      option
        (types.enum [
          "refuse"
          "allow"
        ])
        "refuse"
        "A candidate without sshd, deploy, nixgate or its sudo rules. `allow`: it is tried, and health decides.";
    when-switch-impossible =
      option
        (types.enum [
          "refuse"
          "boot"
        ])
        "refuse"
        "Another init interface, or a switch inhibitor. `boot`: it starts at the next boot instead.";
    when-reboot-needed = option (types.enum [
      "switch"
      "boot"
      "refuse"
    ]) "switch" "Another kernel and the like. `boot`: it starts at the next boot instead.";
  };

  specialisation = table "Which specialisations outlast a deploy (docs/specialisations.md)." {
    keep = example [ "gui" ] (
      option (types.listOf name) [ ]
        "One of these that is active stays so through `switch`, `test` and `rollback`: the candidate's own of that name is activated. Any other ends with the deploy."
    );
    switch = keptBy "switch";
    test = keptBy "test";
    rollback = keptBy "rollback";
  };

  confirm = table "When a trial becomes permanent." {
    mode =
      option confirm "health"
        "`health`: with good health. `required`: somebody also has to say `confirm` over a new connection.";
    switch = ofVerb "switch";
    test = ofVerb "test";
    rollback = ofVerb "rollback";
  };

  revert = table "What a failed trial comes to." {
    when-it-fails =
      option
        (types.enum [
          "reboot"
          "stay"
        ])
        "reboot"
        "`reboot`: into the boot default, which a trial never touches. `stay`: exit 30, and an administrator.";
    required-units =
      option (types.listOf unit) [ ]
        "What must stay active through a trial and a revert, beside sshd.";
  };

  boot = table "How the boot default is read." {
    loader = mkOption {
      type = types.enum [
        "systemd-boot"
        "grub"
        "none"
      ];
      default =
        if config.boot.loader.systemd-boot.enable then
          "systemd-boot"
        else if config.boot.loader.grub.enable then
          "grub"
        else
          "none";
      defaultText = lib.literalMD "what `boot.loader` has";
      description = "The boot loader.";
    };
  };

  sshd = table "The server that has to be well for a trial to become permanent." {
    unit = mkOption {
      type = unit;
      default = if config.services.openssh.startWhenNeeded then "sshd.socket" else "sshd.service";
      defaultText = lib.literalMD "`sshd.service`, or `sshd.socket` with `services.openssh.startWhenNeeded`";
      description = "Its unit.";
    };
    port = mkOption {
      type = types.port;
      default = builtins.head (config.services.openssh.ports ++ [ 22 ]);
      defaultText = lib.literalMD "the first of `services.openssh.ports`";
      description = "A port that it listens on.";
    };
  };
}
