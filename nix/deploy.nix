# scripts/nixgate-deploy, which needs a shell and ssh: the caller's own where there is one.
{
  lib,
  makeWrapper,
  openssh,
  runCommandLocal,
}:
runCommandLocal "nixgate-deploy"
  {
    nativeBuildInputs = [ makeWrapper ];
    meta = {
      description = "Asks a host with nixgate for a deploy, and stays with it";
      mainProgram = "nixgate-deploy";
    };
  }
  ''
    install -D -m 0755 ${../scripts/nixgate-deploy} "$out/bin/nixgate-deploy"
    patchShebangs "$out/bin/nixgate-deploy"
    wrapProgram "$out/bin/nixgate-deploy" --suffix PATH : ${lib.makeBinPath [ openssh ]}
  ''
