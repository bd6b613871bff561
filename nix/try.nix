# The program of `nix run .#try`: says how to come in, and boots the machine.
{
  lib,
  pkgs,
  vm,
  key,
}:
pkgs.writeShellApplication {
  name = "nixgate-try";
  runtimeInputs = [ pkgs.coreutils ];
  text = ''
    directory=$(mktemp -d --tmpdir nixgate-try.XXXXXX)
    install -m 0600 ${key} "$directory/key"
    cat <<TEXT
    A NixOS machine boots in this terminal; leave it with Ctrl-A X. In another one:

      ssh -p 2222 -i $directory/key -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=$directory/known_hosts deploy@127.0.0.1 status

    and then 'fetch', 'switch', 'rollback' instead of 'status'. As root@127.0.0.1 the same key looks at the machine:
    cat /etc/marker; nixgatectl check; nixgatectl audit show.
    TEXT
    cd "$directory"
    exec ${lib.getExe vm}
  '';
}
