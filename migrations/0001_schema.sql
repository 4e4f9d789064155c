-- The schema itself. The table of applied migrations lies in it, so it exists by now when kanbu-backup migrates.

create schema if not exists kanbu_backup;

comment on schema kanbu_backup is 'Backup jobs, their executions and the catalog of backups. Written by kanbu-backup.';
