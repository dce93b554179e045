-- What somebody accepted stays accepted; an allergy that was recorded is withdrawn, never removed.
create trigger append_only before update or delete or truncate on consent
    for each statement execute function refuse_change();
create trigger append_only before delete or truncate on allergy
    for each statement execute function refuse_change();
