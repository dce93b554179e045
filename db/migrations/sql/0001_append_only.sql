-- What the law or the books want kept is only ever added to.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end $$;

create trigger append_only before update or delete or truncate on ledger_transfer
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on ledger_entry
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on timeline
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on audit
    for each statement execute function refuse_change();
create trigger append_only before update or delete or truncate on access_log
    for each statement execute function refuse_change();

-- Double entry: at commit the sides of a transfer add up to nothing.
create function refuse_imbalance() returns trigger language plpgsql as $$
begin
    if (select sum(amount) from ledger_entry where transfer_id = new.transfer_id) <> 0 then
        raise exception 'ledger transfer % does not balance', new.transfer_id
            using errcode = 'check_violation';
    end if;
    return null;
end $$;

create constraint trigger balanced after insert on ledger_entry
    deferrable initially deferred for each row execute function refuse_imbalance();
