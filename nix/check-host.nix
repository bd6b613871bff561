# The smallest host, for `nix flake check`.
{ pkgs, ... }:
{
  networking.hostName = "web1";
  boot.loader.systemd-boot.enable = true;
  fileSystems."/".device = "/dev/disk/by-label/nixos";
  system.stateVersion = "25.11";
  services.openssh.enable = true;
  services.nixgate = {
    enable = true;
    keys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrdRTdFh8nf7t9ZvYUSkEQr4+D5HEW5ZMsGLvGsrOul ci" ];
    allowedSigners = pkgs.writeText "allowed_signers" "";
    knownHosts = pkgs.writeText "known_hosts" "";
    settings.source.url = "ssh://git@forge.example.org/infra.git";
    settings.trust.first-commit = "0123456789abcdef0123456789abcdef01234567";
  };
}
