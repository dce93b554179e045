-- Nobody is booked for whose key was thrown away: nothing is known of them any more.

-- A person of this account who is still known.
create function person_to_book(p_hospital bigint, p_account bigint, p_patient bigint)
returns patient language sql stable as $$
    select p.* from patient p join data_key k on k.id = p.data_key_id
     where p.id = p_patient and p.account_id = p_account and p.hospital_id = p_hospital
       and k.wrapped is not null
$$;

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
    person := person_to_book(p_hospital, p_account, p_patient);
    if person.id is null then return 'patient_unknown'; end if;
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

create or replace function join_waitlist(p_hospital bigint, p_account bigint, p_schedule bigint,
                              p_patient bigint, p_offer jsonb, out code text, out entry_id bigint)
language plpgsql as $$
declare
    slot schedule;
    person patient;
    fee numeric;
begin
    person := person_to_book(p_hospital, p_account, p_patient);
    if person.id is null then code := 'patient_unknown'; return; end if;
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
