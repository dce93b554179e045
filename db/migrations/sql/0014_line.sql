-- Everybody in line is locked before the slot, and not the first alone: when the first may not have
-- the source any more, the next one is there, whatever they are doing at that moment. Before, who was
-- just booking elsewhere was passed over, and where nobody else waited the source lay free.

-- Whoever joins between the look at the line and the slot's lock would not be held: then all is let
-- go, and looked at again. From the slot's lock on nobody joins.
create function lock_line(p_hospital bigint, p_line bigint, p_others bytea[], p_slots bigint[])
returns void language plpgsql as $$
declare
    held bytea[];
begin
    loop
        held := head_of_line(p_line, null);
        begin
            perform lock_persons(p_hospital, held || p_others);
            perform 1 from schedule where id = any(p_slots) order by id for update;
            if not head_of_line(p_line, null) <@ held then
                raise exception 'somebody joined' using errcode = 'L0001';
            end if;
            return;
        exception when sqlstate 'L0001' then
            null;  -- the locks are gone with it
        end;
    end loop;
end $$;

create or replace function release_source(p_order_no text, p_next text, p_offer jsonb)
returns boolean language plpgsql as $$
declare
    slot bigint;
    hospital bigint;
begin
    select s.schedule_id, c.hospital_id into slot, hospital
      from source s join schedule c on c.id = s.schedule_id where s.order_no = p_order_no;
    if not found then return false; end if;
    perform lock_line(hospital, slot, '{}', array[slot]);  -- the same lock order as booking
    update source set order_no = null where order_no = p_order_no;
    if not found then return false; end if;
    update schedule set used_sources = used_sources - 1 where id = slot;
    perform offer_source(slot, p_next, p_offer);
    return true;
end $$;

create or replace function move_order(p_order_no text, p_version bigint, p_schedule bigint,
                                      p_next text, p_offer jsonb)
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

    perform lock_line(held.hospital_id, held.schedule_id, array[held.person_index],
                      array[held.schedule_id, p_schedule]);
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
