# What a host's configuration comes to, for tests/module.rs: `lib` is our own small one unless `nixpkgs` is a checkout.
{
  host,
  root ? "/stand-in",
  nixpkgs ? null,
}:
let
  lib = if nixpkgs == null then import ./lib.nix else import (nixpkgs + "/lib");
  whole = nixpkgs != null && builtins.pathExists (nixpkgs + "/nixos/lib/eval-config.nix");
  pkgs = import ./pkgs.nix { inherit lib root; };
  units = import ./units.nix { inherit lib; };
  system =
    if whole then
      import (nixpkgs + "/nixos/lib/eval-config.nix") {
        system = "x86_64-linux";
        modules = [
          host
          {
            nixpkgs.overlays = [ (_: _: { inherit (pkgs) nixgate; }) ];
            fileSystems."/".device = "/dev/root";
            boot.loader.systemd-boot.enable = true;
            system.stateVersion = lib.trivial.release;
          }
        ];
      }
    else
      lib.evalModules {
        specialArgs = { inherit pkgs; };
        modules = [
          ./stand-ins.nix
          host
        ];
      };
  inherit (system) config;
  cfg = config.services.nixgate;
  # Each option of ours by its name; those of the tables in a list or set follow its own.
  leaves =
    where: options:
    lib.concatMap (
      name:
      let
        here = where ++ [ name ];
        option = options.${name};
        inner = builtins.removeAttrs (option.type.getSubOptions here) [ "_module" ];
      in
      if option._type or "" != "option" then
        leaves here option
      else if inner != { } then
        leaves here inner
      else
        [
          {
            name = builtins.concatStringsSep "." here;
            described = builtins.isString (option.description or null);
          }
        ]
    ) (builtins.attrNames options);
  all = leaves [ ] system.options.services.nixgate;
  ours = builtins.filter (text: builtins.match "services\\.nixgate: .*" text != null);
in
{
  keys = map (option: option.name) all;
  undescribed = map (option: option.name) (builtins.filter (option: !option.described) all);
  failed = ours (map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions));
  warnings = ours config.warnings;
  settings = lib.filterAttrsRecursive (_: value: value != null) cfg.settings;
  users = lib.filterAttrs (name: _: name == "deploy" || name == "nixgate") (
    builtins.mapAttrs (_: user: {
      inherit (user)
        uid
        group
        home
        isSystemUser
        hashedPassword
        ;
      shell = if user.shell == null then null else toString user.shell;
      keys = user.openssh.authorizedKeys.keys;
    }) config.users.users
  );
  masked = !config.systemd.units."user@${toString cfg.uid}.service".enable;
  wanted = builtins.mapAttrs (_: unit: unit.wantedBy) (
    lib.filterAttrs (name: _: builtins.match "nixgate.*" name != null) config.systemd.units
  );
  sudo = config.security.sudo.extraConfig;
  sshd = config.services.openssh.extraConfig;
  penalties = config.services.openssh.settings.PerSourcePenaltyExemptList or null;
  packages = map toString config.systemd.packages;
  programs = map (package: package.name) config.environment.systemPackages;
  etc = builtins.filter (name: builtins.match "nixgate/.*" name != null) (
    builtins.attrNames config.environment.etc
  );
  pull =
    if cfg.pull.enable then
      {
        service = units.service config.systemd.services.nixgate-pull;
        timer = units.timer config.systemd.timers.nixgate-pull;
      }
    else
      null;
  # So that their types are looked at, wanted or not.
  options = {
    inherit (cfg)
      keys
      authorities
      credentials
      freeze
      pull
      uid
      ;
  };
  # Only a stand-in shows what it would be built from.
  build =
    if whole then
      null
    else
      {
        inherit (cfg.rendered) script;
        out = toString cfg.rendered;
        config = {
          path = toString config.environment.etc."nixgate/config.toml".source;
          inherit (config.environment.etc."nixgate/config.toml".source) text;
        };
        sudoers-rs =
          if config.security.sudo-rs.enable then config.environment.etc.sudoers.source.script else null;
      };
}
