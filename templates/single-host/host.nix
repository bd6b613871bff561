{ self }:
{
  networking.hostName = "web1";
  system.stateVersion = "25.11";
  boot.loader.systemd-boot.enable = true;
  services.openssh.enable = true;
  # So that a system says which commit it was made from.
  system.configurationRevision = self.rev or null;

  services.nixgate = {
    enable = true;
    # Who may ask: the public key of CI.
    keys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrdRTdFh8nf7t9ZvYUSkEQr4+D5HEW5ZMsGLvGsrOul ci" ];
    # Who may sign commits.
    allowedSigners = ./allowed_signers;
    # The host key of the forge.
    knownHosts = ./known_hosts;
    settings.source.url = "ssh://git@forge.example.org/infra.git";
  };
}
