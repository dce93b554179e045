-- A place in line ends in several functions: called off, passed over, begun. Whichever it was, the
-- message is promised in its transaction. Who left by themselves, or has an offer, is told otherwise.
create function tell_waitlist_ended() returns trigger language plpgsql as $$
declare
    fact text := 'waitlist-' || new.id || ':' || 'waitlist_ended';
begin
    insert into outbox (stream, workflow, subject) values (fact, 'message', fact);
    return null;
end $$;

create trigger tell_waitlist_ended after update of status on waitlist_entry for each row
    when (old.status = 'waiting' and new.status in ('lapsed', 'ended'))
    execute function tell_waitlist_ended();
