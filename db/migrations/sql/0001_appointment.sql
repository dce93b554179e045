-- Booking: one call, one transaction, one winner for every source.
--
-- Answers a code and, for `booked` and `repeated`, the order's number. Refusals are codes and not
-- exceptions, so that a rush is refused at the speed of a read and does not fill the server's log.

-- Who may hear why this person cannot book: an account that held this person before, under the
-- name on the order in question. Anybody else learns nothing about a stranger's visits.
create function may_hear_about(p_patient patient, p_held boolean, p_other bigint)
returns boolean language sql stable as $$
    select p_held and p_patient.name_index = (select name_index from patient where id = p_other)
$$;

create function booking_refusal(p_patient patient, p_held boolean, p_schedule schedule,
                                p_rules jsonb)
returns text language plpgsql stable as $$
declare
    other bigint;
    open_that_day integer;
begin
    select o.patient_id into other
      from booking_suspension s join appointment o using (order_no)
     where s.hospital_id = p_patient.hospital_id and s.person_index = p_patient.person_index
       and s.lifted_by is null and now() >= s.starts_at and now() < s.ends_at
     limit 1;
    if found then
        return case when may_hear_about(p_patient, p_held, other)
                    then 'suspended' else 'booking_refused' end;
    end if;

    select a.patient_id into other
      from appointment a
     where a.hospital_id = p_patient.hospital_id and a.person_index = p_patient.person_index
       and a.doctor_id = p_schedule.doctor_id and a.date = p_schedule.date
       and a.status in ('pending', 'confirmed', 'checked_in');
    if found then
        return case when may_hear_about(p_patient, p_held, other)
                    then 'already_booked' else 'booking_refused' end;
    end if;

    select count(*), min(a.patient_id) into open_that_day, other
      from appointment a
     where a.hospital_id = p_patient.hospital_id and a.person_index = p_patient.person_index
       and a.date = p_schedule.date and a.status in ('pending', 'confirmed', 'checked_in');
    if open_that_day >= (p_rules ->> 'open_per_day')::integer then
        return case when may_hear_about(p_patient, p_held, other)
                    then 'daily_limit' else 'booking_refused' end;
    end if;
    return null;
end $$;

-- What does not depend on the person, read without a lock: a full slot costs one look.
create function slot_refusal(p_schedule schedule, p_fee numeric, p_rules jsonb)
returns text language plpgsql stable as $$
declare
    here timestamp := now() at time zone (p_rules ->> 'time_zone');
    last_day date := here::date + (p_rules ->> 'horizon_days')::integer;
begin
    if p_schedule.withdrawn then return 'schedule_unavailable'; end if;
    if now() >= p_schedule.starts_at then return 'slot_begun'; end if;
    if p_schedule.date > last_day
       or (p_schedule.date = last_day and here::time < (p_rules ->> 'horizon_opens')::time) then
        return 'not_open_yet';
    end if;
    if p_fee is null then return 'not_offered'; end if;
    if p_schedule.used_sources >= p_schedule.total_sources then return 'slot_full'; end if;
    return null;
end $$;

create function take_source(p_schedule bigint, p_order_no text, out source_id bigint,
                            out number bigint)
language plpgsql as $$
begin
    -- The row lock is the queue: whoever waits here reads the count that the one before left.
    update schedule set used_sources = used_sources + 1
     where id = p_schedule and used_sources < total_sources and not withdrawn;
    if not found then return; end if;
    update source set order_no = p_order_no
     where id = (select s.id from source s
                  where s.schedule_id = p_schedule and s.order_no is null and not s.withdrawn
                  order by s.number limit 1)
    returning source.id, source.number into source_id, number;
    if source_id is null then
        raise exception 'schedule % counts a free source that is not there', p_schedule
            using errcode = 'data_corrupted';
    end if;
end $$;

create function release_source(p_order_no text) returns boolean language plpgsql as $$
declare
    slot bigint;
begin
    select schedule_id into slot from source where order_no = p_order_no;
    if not found then return false; end if;
    perform 1 from schedule where id = slot for update;  -- the same lock order as booking
    update source set order_no = null where order_no = p_order_no;
    if not found then return false; end if;
    update schedule set used_sources = used_sources - 1 where id = slot;
    return true;
end $$;

create function lock_person(p_hospital bigint, p_person bytea) returns void
language sql as $$
    select pg_advisory_xact_lock(hashtextextended(p_hospital || encode(p_person, 'hex'), 0))
$$;

create function place_order(p_hospital bigint, p_account bigint, p_schedule bigint,
                            p_patient bigint, p_held boolean, p_order_no text,
                            p_fees jsonb, p_terms jsonb, p_rules jsonb, p_symptoms bytea)
returns text language plpgsql as $$
declare
    slot schedule;
    person patient;
    fee numeric;
    refused text;
    taken record;
begin
    select * into person from patient
     where id = p_patient and account_id = p_account and hospital_id = p_hospital;
    if not found then return 'patient_unknown'; end if;
    select s.* into slot from schedule s where s.id = p_schedule and s.hospital_id = p_hospital;
    if not found then return 'schedule_unknown'; end if;
    select (p_fees ->> d.level)::numeric into fee from doctor d where d.id = slot.doctor_id;

    refused := slot_refusal(slot, fee, p_rules);
    if refused is not null then return refused; end if;
    perform lock_person(p_hospital, person.person_index);
    refused := booking_refusal(person, p_held, slot, p_rules);
    if refused is not null then return refused; end if;
    taken := take_source(p_schedule, p_order_no);
    if taken.source_id is null then return 'slot_full'; end if;

    insert into appointment (
        hospital_id, order_no, account_id, patient_id, person_index, schedule_id, source_id,
        doctor_id, department_id, date, starts_at, ends_at, status, price, terms, pay_by,
        queue_number, symptoms, created_at)
    values (
        p_hospital, p_order_no, p_account, p_patient, person.person_index, p_schedule,
        taken.source_id, slot.doctor_id, slot.department_id, slot.date, slot.starts_at,
        slot.ends_at, case when fee = 0 then 'confirmed' else 'pending' end, fee, p_terms,
        least(now() + (p_rules ->> 'payment_window')::interval, slot.starts_at),
        taken.number, p_symptoms, now());
    insert into timeline (hospital_id, order_no, version, at, event, to_status, actor_role, actor_id)
    values (p_hospital, p_order_no, 0, now(), 'booked',
            case when fee = 0 then 'confirmed' else 'pending' end, 'patient', p_account);
    insert into outbox (stream, workflow, subject) values (p_order_no, 'appointment', p_order_no);
    return 'booked';
end $$;

create function book_appointment(p_hospital bigint, p_account bigint, p_schedule bigint,
                                 p_patient bigint, p_held boolean, p_order_no text,
                                 p_fees jsonb, p_terms jsonb, p_rules jsonb, p_symptoms bytea,
                                 p_key text, p_body_hash bytea)
returns table (code text, order_no text) language plpgsql as $$
declare
    given idempotency;
begin
    if p_key is not null then
        -- A second one with this key waits here until the first is decided.
        insert into idempotency (account_id, key, body_hash, reference)
        values (p_account, p_key, p_body_hash, p_order_no) on conflict do nothing;
        if not found then
            select * into given from idempotency i where i.account_id = p_account and i.key = p_key;
            if given.body_hash <> p_body_hash then
                return query select 'idempotency_mismatch', null::text;
            else
                return query select 'repeated', given.reference;
            end if;
            return;
        end if;
    end if;
    code := place_order(p_hospital, p_account, p_schedule, p_patient, p_held, p_order_no,
                        p_fees, p_terms, p_rules, p_symptoms);
    order_no := p_order_no;
    if code <> 'booked' and p_key is not null then
        -- Refusals are judged anew.
        delete from idempotency i where i.account_id = p_account and i.key = p_key;
    end if;
    return next;
end $$;
