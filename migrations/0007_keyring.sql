-- What keys need to be stable and is no secret: the salt that passphrases are derived with. One row.
-- If it is lost another one is drawn; every file carries its own.

create table kanbu_backup.keyring (
    single          boolean primary key default true check (single),
    passphrase_salt bytea not null check (octet_length(passphrase_salt) = 16)
);
