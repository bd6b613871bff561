# The options of NixOS that the tests in virtual machines touch besides those of ./stand-ins.nix. Beside each is where nixpkgs declares it; each was looked up there.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  bool = option types.bool false;
  lines = option types.lines "";
  ports = option (types.listOf types.port) [ ];
in
{
  options = {
    # nixos/modules/system/boot/loader/efi.nix, nixos/modules/system/boot/loader/loader.nix
    boot.loader.efi.canTouchEfiVariables = bool;
    boot.loader.timeout = option (types.nullOr types.int) 5;
    # nixos/modules/system/activation/top-level.nix
    system.extraDependencies = option (types.listOf types.path) [ ];
    system.build.toplevel = option types.package (
      pkgs.writeText "nixos-system-${config.networking.hostName}-${builtins.hashString "sha256" (builtins.toJSON (builtins.attrNames config.environment.etc) + toString (config.environment.etc.marker.text or ""))}" ""
    );
    # nixos/modules/system/activation/specialisation.nix
    specialisation = mkOption {
      default = { };
      type = types.attrsOf (types.submodule { options.configuration = mkOption { type = types.raw; }; });
    };

    # nixos/modules/services/networking/ssh/sshd.nix
    services.openssh.hostKeys = option (types.listOf types.anything) [ ];
    # nixos/modules/config/networking.nix
    networking.hosts = option (types.attrsOf (types.listOf types.str)) { };
    # nixos/modules/tasks/filesystems.nix
    fileSystems = option (types.attrsOf types.anything) { };
    # nixos/modules/misc/nixpkgs.nix
    nixpkgs.hostPlatform = option types.str "x86_64-linux";
    # nixos/modules/programs/ssh.nix, nixos/modules/programs/git.nix
    programs.ssh.extraConfig = lines;
    programs.git = {
      enable = bool;
      config = option (types.attrsOf types.anything) { };
    };
    # nixos/modules/services/networking/firewall.nix
    networking.firewall.allowedTCPPorts = ports;
    networking.firewall.allowedUDPPorts = ports;
    # nixos/modules/security/ca.nix
    security.pki.certificateFiles = option (types.listOf types.path) [ ];
    # nixos/modules/services/networking/nix-serve.nix
    services.nix-serve = {
      enable = bool;
      openFirewall = bool;
      secretKeyFile = option (types.nullOr types.str) null;
    };
    # nixos/modules/services/networking/headscale.nix
    services.headscale = {
      enable = bool;
      port = option types.port 8080;
      settings = option (types.attrsOf types.anything) { };
    };
    # nixos/modules/services/web-servers/nginx/default.nix; a virtual host: vhost-options.nix beside it
    services.nginx = {
      enable = bool;
      virtualHosts = option (types.attrsOf types.anything) { };
    };
  };
}
