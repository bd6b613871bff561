# shellcheck shell=sh disable=SC2154  # the derivation's environment
# Builds the toplevel ($out) and its /etc ($etc), in the shape that NixOS gives them.
set -eu

has() { grep -qxF "$1" "$src/fault"; }

render() { "$nixgate/bin/nixgatectl" render --config "$src/config.toml" --platform fhs --root "$etc"; }

units=$etc/etc/systemd/system
mkdir -p "$out/bin" "$out/sw/bin" "$units" "$etc/etc/ssh/sshd_config.d"
ln -s "$etc/etc" "$out/etc"

# --- what NixOS puts beside it
ln -s "$kernel/bzImage" "$out/kernel"
ln -s "$kernel/initrd" "$out/initrd"
ln -s "$kernel/modules" "$out/kernel-modules"
ln -s "$kernel/firmware" "$out/firmware"
params='loglevel=4'
if has new-params; then params='loglevel=4 quiet'; fi
echo "$params" >"$out/kernel-params"
if has new-systemd; then ln -s /usr/lib "$out/systemd"; else ln -s /usr "$out/systemd"; fi
echo "26.05.demo-$version" >"$out/nixos-version"
echo 'x86_64-linux' >"$out/system"
if has exit-100; then echo 'systemd 3'; else echo 'systemd 2'; fi >"$out/init-interface-version"
if has inhibitor; then broker=broker; else broker=dbus; fi
echo "{\"dbus-implementation\":\"$broker\"}" >"$out/switch-inhibitors"
if ! has no-triggers; then
  echo "{\"dbus-implementation\":\"$broker\",\"firmware\":\"$kernel/firmware\",\"kernel\":\"$kernel\",\"kernel-params\":\"$params\"}" >"$out/reboot-triggers"
fi
cp "$src/fault" "$out/fault"
if [ -n "$gui" ]; then
  mkdir "$out/specialisation"
  ln -s "$gui" "$out/specialisation/gui"
fi
cp "$src/version" "$out/demo-version"

# --- programs
for tool in systemctl systemd-run systemd-tmpfiles systemd-sysusers busctl journalctl git curl nix nix-env nix-store nix-daemon ssh ssh-keygen \
  ssh-keyscan grep sudo bash sh cat readlink sync logger flock; do
  ln -s "/usr/bin/$tool" "$out/sw/bin/$tool"
done
ln -s /usr/sbin/sshd "$out/sw/bin/sshd"
cat >"$out/sw/bin/nixos-version" <<SCRIPT
#!$busybox/bin/sh
case "\${1-}" in
  --revision) echo "" ;;
  --configuration-revision) echo "$revision" ;;
  --json)
    cat <<JSON
{"configurationRevision":"$revision","nixosVersion":"26.05.demo-$version","nixpkgsRevision":null}
JSON
    ;;
  *) echo "26.05.demo-$version (Demo)" ;;
esac
SCRIPT
[ -n "$revision" ] || sed -i 's/"configurationRevision":"",//' "$out/sw/bin/nixos-version"
chmod +x "$out/sw/bin/nixos-version"

for script in switch-to-configuration activate init; do
  case $script in switch-to-configuration) to=$out/bin/$script ;; *) to=$out/$script ;; esac
  sed -e "s|@busybox@|$busybox|g" -e "s|@out@|$out|g" -e "s|@etc@|$etc|g" "$src/$script" >"$to"
  chmod +x "$to"
done

# --- /etc
: >"$etc/etc/NIXOS"
if ! has no-nixgate; then
  render
  for program in nixgate nixgate-job nixgatectl; do ln -s "$nixgate/bin/$program" "$out/sw/bin/$program"; done
fi
if has no-sudoers; then rm "$etc/etc/sudoers.d/nixgate"; fi
if has no-forcecommand; then rm "$etc/etc/ssh/sshd_config.d/nixgate.conf"; fi
if has no-nixgate-socket; then rm "$units/nixgate.socket"; fi

# --- accounts: the list that the activation makes them from (nixos/modules/config/users-groups.nix)
{
  echo '{"mutableUsers":true,"groups":[{"name":"root"}],"users":['
  if ! has no-nixgate; then
    echo '{"name":"nixgate","isSystemUser":true,"shell":"/usr/sbin/nologin"},'
    if ! has no-deploy-account; then echo '{"name":"deploy","isSystemUser":true,"shell":"/usr/bin/nixgate"},'; fi
  fi
  echo '{"name":"root","shell":"/bin/bash"}]}'
} | tr -d '\n' >"$etc/users-groups.json"
if [ -s "$src/authorized-keys" ]; then
  mkdir "$etc/etc/ssh/authorized_keys.d"
  cp "$src/authorized-keys" "$etc/etc/ssh/authorized_keys.d/deploy"
fi
if has brings-config; then
  mkdir "$etc/etc/nixgate"
  cp "$src/config.toml" "$etc/etc/nixgate/config.toml"
  if has config-is-broken; then sed -i 's/^activation = .*/activation = "soon"/' "$etc/etc/nixgate/config.toml"; fi
  if has config-is-another; then sed -i 's/^activation = .*/activation = "99s"/' "$etc/etc/nixgate/config.toml"; fi
fi
cat >"$etc/etc/sudoers" <<'SUDOERS'
Defaults env_keep+=NIXOS_NO_CHECK
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
SUDOERS
cat >"$etc/etc/ssh/sshd_config" <<'SSHD'
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
PerSourcePenaltyExemptList 127.0.0.1,::1
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
SSHD

echo 'PasswordAuthentication no' >"$etc/etc/ssh/sshd_config.d/demo.conf"
if has new-sshd-config; then echo 'MaxAuthTries 5' >>"$etc/etc/ssh/sshd_config.d/demo.conf"; fi
if ! has no-sshd; then
  sed "s|@sshd-config@|$(cat "$etc/etc/ssh/sshd_config.d/"* | sha256sum | cut -c1-16)|" "$src/units/ssh.service" >"$units/ssh.service"
fi
start='true' again='always'
if has service-fails || has exit-4; then start='false' again='no'; fi
run="httpd -f -p 127.0.0.1:8080 -h $etc/www"
if has service-flaps; then run='false'; fi
if has service-flaps-slowly; then run='sleep 1'; fi
mkdir "$etc/www"
echo "$version" >"$etc/www/version"
sed -e "s|@busybox@|$busybox|" -e "s|@version@|$version|" -e "s|@start@|$start|" -e "s|@again@|$again|" -e "s|@run@|$run|" "$src/units/demo.service" >"$units/demo.service"
if ! has no-templates; then
  for kind in kept plain; do sed -e "s|@busybox@|$busybox|" -e "s|@version@|$version|" "$src/units/$kind@.service" >"$units/$kind@.service"; done
fi
if has failing-mount; then cp "$src/units/mnt-missing.mount" "$units/"; fi

# What [Install] asks for; NixOS makes these links too.
for unit in "$units"/*; do
  if [ ! -f "$unit" ] || [ -L "$unit" ]; then continue; fi
  for kind in WantedBy:wants RequiredBy:requires; do
    sed -n "s/^${kind%:*}=//p" "$unit" | while read -r target; do
      mkdir -p "$units/$target.${kind#*:}"
      ln -s "../${unit##*/}" "$units/$target.${kind#*:}/${unit##*/}"
    done
  done
done
cd "$etc/etc"
find . \( -type f -o -type l \) | sed 's|^\./||' | sort >"$out/etc-files"
