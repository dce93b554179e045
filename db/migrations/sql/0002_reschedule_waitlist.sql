-- One source for another, and the line (候补) of those who wait for one.
--
-- Locks, always in this order: the order's row, persons (several of them sorted), slots (sorted).

-- Why this person cannot have this slot. An order that moves is not in its own way, and a suspension
-- is about new bookings.
drop function booking_refusal(patient, boolean, schedule, jsonb);
create function booking_refusal(p_patient patient, p_held boolean, p_schedule schedule,
                                p_rules jsonb, p_moving text default null)
returns text language plpgsql stable as $$
declare
    other bigint;
    open_that_day integer;
begin
    if p_moving is null then
        select o.patient_id into other
          from booking_suspension s join appointment o using (order_no)
         where s.hospital_id = p_patient.hospital_id and s.person_index = p_patient.person_index
           and s.lifted_by is null and now() >= s.starts_at and now() < s.ends_at
         limit 1;
        if found then
            return case when may_hear_about(p_patient, p_held, other)
                        then 'suspended' else 'booking_refused' end;
        end if;
    end if;

    select a.patient_id into other
      from appointment a
     where a.hospital_id = p_patient.hospital_id and a.person_index = p_patient.person_index
       and a.doctor_id = p_schedule.doctor_id and a.date = p_schedule.date
       and a.status in ('pending', 'confirmed', 'checked_in')
       and a.order_no is distinct from p_moving;
    if found then
        return case when may_hear_about(p_patient, p_held, other)
                    then 'already_booked' else 'booking_refused' end;
    end if;

    select count(*), min(a.patient_id) into open_that_day, other
      from appointment a
     where a.hospital_id = p_patient.hospital_id and a.person_index = p_patient.person_index
       and a.date = p_schedule.date and a.status in ('pending', 'confirmed', 'checked_in')
       and a.order_no is distinct from p_moving;
    if open_that_day >= (p_rules ->> 'open_per_day')::integer then
        return case when may_hear_about(p_patient, p_held, other)
                    then 'daily_limit' else 'booking_refused' end;
    end if;
    return null;
end $$;

-- Two at once that lock the same two persons must not wait for each other.
create function lock_persons(p_hospital bigint, p_persons bytea[]) returns void
language plpgsql as $$
declare
    person bytea;
begin
    for person in select distinct p from unnest(p_persons) p order by p loop
        perform lock_person(p_hospital, person);
    end loop;
end $$;

-- Those at the head of a line, looked at before the slot is locked so that they can be locked first.
create function head_of_line(p_schedule bigint, p_count bigint) returns bytea[]
language sql stable as $$
    select coalesce(array_agg(w.person_index), '{}')
      from (select person_index from waitlist_entry
             where schedule_id = p_schedule and status = 'waiting' order by id limit p_count) w
$$;

create function write_order(p_slot schedule, p_person patient, p_order_no text,
                            p_source bigint, p_number bigint, p_fee numeric, p_terms jsonb,
                            p_window interval, p_symptoms bytea, p_event text, p_actor text, p_actor_id bigint)
returns void language plpgsql as $$
declare
    first_status text := case when p_fee = 0 then 'confirmed' else 'pending' end;
begin
    insert into appointment (
        hospital_id, order_no, account_id, patient_id, person_index, schedule_id, source_id,
        doctor_id, department_id, date, starts_at, ends_at, status, price, terms, pay_by,
        queue_number, symptoms, created_at)
    values (
        p_slot.hospital_id, p_order_no, p_person.account_id, p_person.id, p_person.person_index,
        p_slot.id, p_source, p_slot.doctor_id, p_slot.department_id, p_slot.date,
        p_slot.starts_at, p_slot.ends_at, first_status, p_fee, p_terms,
        least(now() + p_window, p_slot.starts_at), p_number, p_symptoms, now());
    insert into timeline (hospital_id, order_no, version, at, event, to_status, actor_role, actor_id)
    values (p_slot.hospital_id, p_order_no, 0, now(), p_event, first_status, p_actor, p_actor_id);
    insert into outbox (stream, workflow, subject) values (p_order_no, 'appointment', p_order_no);
end $$;

create or replace function place_order(p_hospital bigint, p_account bigint, p_schedule bigint,
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
    perform write_order(slot, person, p_order_no, taken.source_id, taken.number, fee, p_terms,
                        (p_rules ->> 'payment_window')::interval, p_symptoms,
                        'booked', 'patient', p_account);
    return 'booked';
end $$;

-- Pass one free source to the first in line who may have it, as an unpaid order of theirs. The
-- slot's row is locked by the caller; who is first was locked before it. Somebody further back who
-- is booking at this very moment cannot be waited for (they may wait for this slot) and keeps their
-- place; whoever may not have it any more leaves the line.
create function offer_source(p_schedule bigint, p_order_no text, p_offer jsonb) returns boolean
language plpgsql as $$
declare
    slot schedule;
    fee numeric;
    entry waitlist_entry;
    person patient;
    taken record;
begin
    select * into slot from schedule where id = p_schedule;
    if slot.withdrawn or slot.used_sources >= slot.total_sources or now() >= slot.starts_at then
        return false;
    end if;
    select (p_offer -> 'fees' ->> d.level)::numeric into fee from doctor d where d.id = slot.doctor_id;
    if fee is null then return false; end if;
    for entry in select * from waitlist_entry
                  where schedule_id = p_schedule and status = 'waiting' order by id
                    for update loop  -- who leaves at this moment has left, or has the offer
        continue when not try_lock_person(slot.hospital_id, entry.person_index);
        select * into person from patient where id = entry.patient_id;
        if booking_refusal(person, true, slot, p_offer -> 'rules') is not null then
            update waitlist_entry set status = 'lapsed', ended_at = now() where id = entry.id;
            continue;
        end if;
        taken := take_source(p_schedule, p_order_no);
        if taken.source_id is null then return false; end if;
        perform write_order(slot, person, p_order_no, taken.source_id, taken.number, fee, p_offer -> 'terms',
                            (p_offer -> 'rules' ->> 'offer_window')::interval, null,
                            'offered', 'system', null);
        update waitlist_entry set order_no = p_order_no,
               status = case when fee = 0 then 'booked' else 'offered' end,
               ended_at = case when fee = 0 then now() end
         where id = entry.id;
        return true;
    end loop;
    return false;
end $$;

create function try_lock_person(p_hospital bigint, p_person bytea) returns boolean
language sql as $$
    select pg_try_advisory_xact_lock(hashtextextended(p_hospital || encode(p_person, 'hex'), 0))
$$;

-- `p_next` is the number of the order that the first in line gets.
drop function release_source(text);
create function release_source(p_order_no text, p_next text, p_offer jsonb) returns boolean
language plpgsql as $$
declare
    slot bigint;
    hospital bigint;
begin
    select s.schedule_id, c.hospital_id into slot, hospital
      from source s join schedule c on c.id = s.schedule_id where s.order_no = p_order_no;
    if not found then return false; end if;
    perform lock_persons(hospital, head_of_line(slot, 1));
    perform 1 from schedule where id = slot for update;  -- the same lock order as booking
    update source set order_no = null where order_no = p_order_no;
    if not found then return false; end if;
    update schedule set used_sources = used_sources - 1 where id = slot;
    perform offer_source(slot, p_next, p_offer);
    return true;
end $$;

-- The new source and the old one in one transaction; same order, nothing paid again. Answers
-- `moved`, also when it was done before under this version, or why not: then nothing is changed.
create function move_order(p_order_no text, p_version bigint, p_schedule bigint, p_next text,
                           p_offer jsonb)
returns text language plpgsql as $$
declare
    held appointment;
    slot schedule;
    person patient;
    fee numeric;
    refused text;
    taken record;
begin
    select * into held from appointment where order_no = p_order_no for update;
    if held.version >= p_version then return 'moved'; end if;
    if held.schedule_id = p_schedule then return 'same_slot'; end if;
    select s.* into slot from schedule s
     where s.id = p_schedule and s.hospital_id = held.hospital_id;
    if not found then return 'schedule_unknown'; end if;
    select (p_offer -> 'fees' ->> d.level)::numeric into fee from doctor d where d.id = slot.doctor_id;
    refused := slot_refusal(slot, fee, p_offer -> 'rules');
    if refused is not null then return refused; end if;
    if fee <> held.price then return 'price_differs'; end if;

    perform lock_persons(held.hospital_id,
                         head_of_line(held.schedule_id, 1) || array[held.person_index]);
    perform 1 from schedule where id in (held.schedule_id, p_schedule) order by id for update;
    select * into person from patient where id = held.patient_id;
    refused := booking_refusal(person, true, slot, p_offer -> 'rules', p_order_no);
    if refused is not null then return refused; end if;
    -- As it is now that nobody else can change it: what was seen before the lock may be over.
    select s.* into slot from schedule s where s.id = p_schedule;
    refused := slot_refusal(slot, fee, p_offer -> 'rules');
    if refused is not null then return refused; end if;

    update source set order_no = null where order_no = p_order_no;
    update schedule set used_sources = used_sources - 1 where id = held.schedule_id;
    taken := take_source(p_schedule, p_order_no);
    update appointment set
           schedule_id = slot.id, source_id = taken.source_id, doctor_id = slot.doctor_id,
           department_id = slot.department_id, date = slot.date, starts_at = slot.starts_at,
           ends_at = slot.ends_at, queue_number = taken.number, status = 'confirmed',
           check_in_time = null, choose_by = null, version = p_version
     where order_no = p_order_no;
    perform offer_source(held.schedule_id, p_next, p_offer);
    return 'moved';
end $$;

create function join_waitlist(p_hospital bigint, p_account bigint, p_schedule bigint,
                              p_patient bigint, p_offer jsonb, out code text, out entry_id bigint)
language plpgsql as $$
declare
    slot schedule;
    person patient;
    fee numeric;
begin
    select * into person from patient
     where id = p_patient and account_id = p_account and hospital_id = p_hospital;
    if not found then code := 'patient_unknown'; return; end if;
    perform lock_person(p_hospital, person.person_index);
    -- Whoever frees a source does it before this look, or finds the new entry after it.
    select s.* into slot from schedule s
     where s.id = p_schedule and s.hospital_id = p_hospital for update;
    if not found then code := 'schedule_unknown'; return; end if;
    select w.id into entry_id from waitlist_entry w
     where w.schedule_id = p_schedule and w.person_index = person.person_index
       and w.status in ('waiting', 'offered');
    if found then
        code := case when exists (select 1 from waitlist_entry w
                                   where w.id = entry_id and w.account_id = p_account)
                     then 'waiting' else 'booking_refused' end;
        return;
    end if;
    select (p_offer -> 'fees' ->> d.level)::numeric into fee from doctor d where d.id = slot.doctor_id;
    code := slot_refusal(slot, fee, p_offer -> 'rules');
    if code is null then code := 'not_full'; end if;
    if code <> 'slot_full' then return; end if;
    code := booking_refusal(person, true, slot, p_offer -> 'rules');
    if code is not null then return; end if;
    if (select count(*) from waitlist_entry w
         where w.schedule_id = p_schedule and w.status = 'waiting')
       >= (p_offer -> 'rules' ->> 'waitlist_size')::integer then
        code := 'waitlist_full';
        return;
    end if;
    insert into waitlist_entry (hospital_id, schedule_id, account_id, patient_id, person_index)
    values (p_hospital, p_schedule, p_account, p_patient, person.person_index)
    returning id into entry_id;
    code := 'joined';
end $$;
