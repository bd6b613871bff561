{ self }:
let
  caches = [ "https://cache.example.org" ];
  cacheKeys = [ "cache.example.org-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" ];
in
{
  networking.hostName = "web1";
  system.stateVersion = "25.11";
  boot.loader.systemd-boot.enable = true;
  services.openssh.enable = true;
  # So that a system says which commit it was made from.
  system.configurationRevision = self.rev or null;
  nix.settings.trusted-substituters = caches;
  nix.settings.trusted-public-keys = cacheKeys;

  services.nixgate = {
    enable = true;
    # Who may ask: the public key of CI.
    keys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrdRTdFh8nf7t9ZvYUSkEQr4+D5HEW5ZMsGLvGsrOul ci" ];
    # Who may sign manifests.
    allowedSigners = ./allowed_signers;
    # The host key of the forge.
    knownHosts = ./known_hosts;
    settings = {
      source = {
        kind = "prebuilt";
        url = "ssh://git@forge.example.org/infra.git";
        inherit caches;
        cache-keys = cacheKeys;
      };
      trust.first-sequence = 1;
    };
  };
}
