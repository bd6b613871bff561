# The three programs, and the client in sh. The gate is static (no loader, no LD_PRELOAD) and built alone: with the others its crates would get
# their features. As in tests/container/build.
{
  lib,
  rustPlatform,
  pkgsStatic,
  runCommand,
  symlinkJoin,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
  common = {
    inherit (manifest.package) version;
    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ../Cargo.toml
        ../Cargo.lock
        ../src
      ];
    };
    cargoLock.lockFile = ../Cargo.lock;
    # ./test runs them, with real servers and containers, which a build has not.
    doCheck = false;
    meta = {
      inherit (manifest.package) description;
      homepage = manifest.package.repository;
      license = with lib.licenses; [
        mit
        asl20
      ];
      platforms = lib.platforms.linux;
    };
  };
  gate = pkgsStatic.rustPlatform.buildRustPackage (
    common
    // {
      pname = "nixgate-gate";
      buildNoDefaultFeatures = true;
      cargoBuildFlags = [
        "--bin"
        "nixgate"
      ];
    }
  );
  others = rustPlatform.buildRustPackage (
    common
    // {
      pname = "nixgate-host";
      cargoBuildFlags = [
        "--bin"
        "nixgate-job"
        "--bin"
        "nixgatectl"
      ];
    }
  );
  # It needs ssh and what every system has: the ssh is the caller's, whose configuration it reads.
  client = runCommand "nixgate-deploy-${common.version}" { } ''
    install -D -m 0755 ${../scripts/nixgate-deploy} $out/bin/nixgate-deploy
    patchShebangs --host $out/bin
  '';
in
symlinkJoin {
  name = "nixgate-${common.version}";
  inherit (common) version meta;
  pname = "nixgate";
  paths = [
    gate
    others
    client
  ];
  passthru = {
    inherit gate others client;
  };
}
