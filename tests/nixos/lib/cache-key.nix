# Known to everybody: a key pair for the cache of the test prebuilt.nix, and for nothing else.
{
  secret = "client-1:iHnjuiMZawdOh6qcLozt6WIY2PQ6e+YyAb1xha88BbqBAI0mBfpiayPKg0nGm9okvLIOROFcbWm1svBSMscOsQ==";
  public = "client-1:gQCNJgX6YmsjyoNJxpvaJLyyDkThXG1ptbLwUjLHDrE=";
}
