# What around nixgate would make its promises untrue. An assertion stops the build; a warning is printed and the build goes on.
# Each says what to do. `nixgatectl check` looks at the same on the host, for what options cannot show.
{ config, lib, ... }:
let
  cfg = config.services.nixgate;
  inherit (builtins) elem filter match;
  inherit (lib) any optional;

  accounts = [
    "deploy"
    "nixgate"
  ];
  # As in src/decide/builder.rs.
  mighty = [
    "adm"
    "disk"
    "docker"
    "incus"
    "incus-admin"
    "kmem"
    "kvm"
    "libvirt"
    "libvirtd"
    "lxd"
    "nixbld"
    "podman"
    "root"
    "shadow"
    "staff"
    "sudo"
    "wheel"
  ];
  groupsOf =
    account:
    let
      user = config.users.users.${account};
      named = filter (group: elem account config.users.groups.${group}.members) (
        builtins.attrNames config.users.groups
      );
    in
    [ user.group ] ++ user.extraGroups ++ named;
  tooMany = lib.concatMap (
    account:
    map (group: { inherit account group; }) (filter (group: elem group mighty) (groupsOf account))
  ) accounts;

  trusted = config.nix.settings.trusted-users;
  trustedNames = lib.concatMap (
    account: [ account ] ++ map (group: "@${group}") (groupsOf account)
  ) accounts;
  trustedEntries = filter (entry: entry == "*" || elem entry trustedNames) trusted;

  sshd = config.services.openssh;
  # Yes, or a pattern of names.
  plainEnvironment = elem (sshd.settings.PermitUserEnvironment or null) [
    null
    false
    "no"
  ];
  # Lines of sshd_config are words; case does not matter in the first.
  extraLines = map lib.toLower (lib.splitString "\n" sshd.extraConfig);
  extraSays =
    key: value: any (line: match "[[:space:]]*${key}[[:space:]=]+${value}.*" line != null) extraLines;
  asList = value: if builtins.isList value then value else lib.splitString " " (toString value);
  acceptEnv = asList (sshd.settings.AcceptEnv or [ ]);
  # sudo of NixOS keeps NIXOS_NO_CHECK, which skips the checks before a switch.
  policy = "[*?].*|nix.*|nixos.*|git.*|ld_.*|ssh_.*|path|bash_env";
  passesPolicy =
    any (word: match policy (lib.toLower word) != null) acceptEnv
    || extraSays "acceptenv" "(.* )?(${policy})";

  sudo = config.security.sudo;
  sudo-rs = config.security.sudo-rs;

  tailscale = config.services.tailscale;
  tailscaleSsh =
    tailscale.enable
    && any (
      flag:
      elem flag [
        "--ssh"
        "--ssh=true"
      ]
    ) (tailscale.extraUpFlags ++ tailscale.extraSetFlags);
  tailscaleOff =
    any (name: (config.systemd.services.tailscaled.environment.${name} or null) != "true")
      [
        "TS_SSH_DISABLE_SFTP"
        "TS_SSH_DISABLE_FORWARDING"
        "TS_SSH_DISABLE_PTY"
      ];

  # Where secrets are said to be: what is named by a path of the store can be read by everybody on the host.
  secrets =
    builtins.attrValues cfg.credentials
    ++ filter (path: path != null) (
      [
        cfg.settings.source.ssh-key
        cfg.settings.source.access-tokens-file
      ]
      ++ map (table: table.key) cfg.settings.input-key
    );
  inStore = filter (lib.hasPrefix builtins.storeDir) secrets;
  credential = path: match "[$]CREDENTIALS_DIRECTORY/(.*)" path;
  unknownCredentials = filter (name: !(cfg.credentials ? ${name})) (
    lib.concatMap (path: if credential path == null then [ ] else credential path) secrets
  );

  # Account nixgate is no trusted user of Nix, so the daemon fetches from and believes only what nix.conf names.
  unslashed = url: lib.removeSuffix "/" url;
  notIn = known: filter (one: !(elem (unslashed one) (map unslashed known)));
  asGiven = list: if list == null then [ ] else list;
  unknownCaches =
    notIn (config.nix.settings.substituters ++ config.nix.settings.trusted-substituters) (
      asGiven cfg.settings.source.caches
    )
    ++ notIn config.nix.settings.trusted-public-keys (asGiven cfg.settings.source.cache-keys);

  # What the timer asks for, where it is tried and somebody would have to confirm it.
  confirm = cfg.settings.confirm;
  confirmed = if confirm.switch == null then confirm.mode else confirm.switch;

  off = assertion: message: { inherit assertion message; };
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      (off (trustedEntries == [ ])
        "services.nixgate: nix.settings.trusted-users has ${toString trustedEntries}, so account deploy or nixgate is trusted by Nix, and a trusted user of Nix is root; remove that entry."
      )
      (off (tooMany == [ ])
        "services.nixgate: ${
          lib.concatMapStringsSep ", " (one: "account ${one.account} is in the group ${one.group}") tooMany
        }, which is as good as root; take the account out of users.users.NAME.extraGroups or users.groups.NAME.members."
      )
      (off (!(config.nix.settings.accept-flake-config or false))
        "services.nixgate: nix.settings.accept-flake-config lets a repository set options of Nix; set it to false."
      )
      (off ((config.nix.settings.sandbox-fallback or true) == false)
        "services.nixgate: nix.settings.sandbox-fallback lets Nix build outside of its sandbox; set it to false, as this module does unless told otherwise."
      )
      (off (sudo.enable || sudo-rs.enable)
        "services.nixgate: a deploy runs its exact privileged commands by sudo; set security.sudo.enable or security.sudo-rs.enable."
      )
      (off (!(sudo.enable && sudo.execWheelOnly) && !(sudo-rs.enable && sudo-rs.execWheelOnly))
        "services.nixgate: with execWheelOnly account nixgate cannot run sudo at all; set security.sudo.execWheelOnly and security.sudo-rs.execWheelOnly to false."
      )
      (off (
        sshd.enable || tailscaleSsh
      ) "services.nixgate: nobody could ask for a deploy; set services.openssh.enable = true.")
      (off (plainEnvironment && !(extraSays "permituserenvironment" "[^n]"))
        "services.nixgate: PermitUserEnvironment lets a key set the environment of the gate, and no Match block can take that back; remove it from services.openssh."
      )
      (off (config.users.users.deploy.home == "/var/empty")
        "services.nixgate: the home of account deploy is ${config.users.users.deploy.home}, where keys and files that ssh obeys could lie; remove users.users.deploy.home, this module sets /var/empty."
      )
      (off
        (
          config.users.users.nixgate.openssh.authorizedKeys.keys == [ ]
          && config.users.users.nixgate.openssh.authorizedKeys.keyFiles == [ ]
        )
        "services.nixgate: account nixgate does the deploys and nobody logs in as it; put the keys into services.nixgate.keys, which are those of account deploy."
      )
      (off (!(any (shell: match ".*/nixgate" (toString shell) != null) config.environment.shells))
        "services.nixgate: the gate is in environment.shells (/etc/shells), so other services take account deploy for one that may log in; remove it there."
      )
      (off (!tailscaleSsh || !tailscaleOff)
        "services.nixgate: Tailscale SSH is on, and its SFTP and forwarding do not meet the login shell. Simplest: remove --ssh and let callers use OpenSSH over the tailnet. Or set TS_SSH_DISABLE_SFTP, TS_SSH_DISABLE_FORWARDING and TS_SSH_DISABLE_PTY to \"true\" in systemd.services.tailscaled.environment, for everybody on this host."
      )
      (off (config.system.switch.enable) "services.nixgate: system.switch.enable = false leaves a system without switch-to-configuration, so it can be neither deployed nor reverted; remove it.")
      (off (!(cfg.pull.enable && cfg.pull.verb == "switch" && confirmed == "required"))
        "services.nixgate: nobody confirms what the timer deploys, so each trial would be reverted; set services.nixgate.pull.verb = \"fetch\", or settings.confirm.switch = \"health\"."
      )
      (off (inStore == [ ])
        "services.nixgate: ${toString inStore} is named as a secret, and everybody on the host can read the store; name a file outside of it, as a string."
      )
      (off (unknownCredentials == [ ])
        "services.nixgate: the settings name the credential ${toString unknownCredentials}, which the job does not get; name its file in services.nixgate.credentials."
      )
      (off (unknownCaches == [ ])
        "services.nixgate: Nix on this host would not take a prebuilt system from or by ${toString unknownCaches}; put it into nix.settings.trusted-substituters or nix.settings.trusted-public-keys."
      )
      (off (config.nix.settings.sandbox == true)
        "services.nixgate: nix.settings.sandbox lets what is built reach the host, and nixgate builds nothing there; set it to true."
      )
    ];

    warnings =
      optional (sudo.enable && lib.versionOlder sudo.package.version "1.9.17p1")
        "services.nixgate: sudo ${sudo.package.version} is older than 1.9.17p1, which mended CVE-2025-32462 and CVE-2025-32463; update nixpkgs, or set security.sudo.package, unless this one is patched."
      ++
        optional (sudo-rs.enable && lib.versionOlder sudo-rs.package.version "0.2.6")
          "services.nixgate: sudo-rs ${sudo-rs.package.version} is older than 0.2.6, which mended CVE-2025-46717 and CVE-2025-46718; update nixpkgs, or set security.sudo-rs.package, unless this one is patched."
      ++ optional passesPolicy "services.nixgate: AcceptEnv of services.openssh lets a client set variables that decide what programs do. The block of account deploy takes none; for administrators sudo keeps NIXOS_NO_CHECK. Name harmless variables only."
      ++ optional (
        cfg.keys == [ ]
        && cfg.authorities == [ ]
        && config.users.users.deploy.openssh.authorizedKeys.keyFiles == [ ]
        && !cfg.pull.enable
        && !tailscaleSsh
      ) "services.nixgate: no key may ask for a deploy; put one into services.nixgate.keys."
      ++
        optional (config.system.configurationRevision == null && cfg.settings.trust.first-commit == null)
          "services.nixgate: the system does not say which commit it was made from; set system.configurationRevision = self.rev or null in the flake, or services.nixgate.settings.trust.first-commit."
      ++
        optional (config.services.logind.settings.Login.KillUserProcesses or false == true)
          "services.nixgate: with KillUserProcesses logind ends the gate of a session that closes. The job goes on, but its caller may get no answer and has to `attach`; set services.logind.settings.Login.KillUserProcesses = false."
      ++
        optional (cfg.settings.trust.signatures == "none")
          "services.nixgate: settings.trust.signatures = \"none\": whoever may push to the repository is root on this host; set it to \"tip\"."
      ++
        optional (cfg.freeze != null)
          "services.nixgate: services.nixgate.freeze is set: once this system runs, it takes no deploy until root has removed /etc/nixgate/freeze.";
  };
}
