-- As before, but a refund that failed and was tried again counts no more, and one that a person
-- settled by other means is as good as made.
create or replace view appointment_order as
    select a.id, a.order_no, a.hospital_id, a.account_id, a.patient_id, a.schedule_id, a.source_id,
           a.doctor_id, d.name as doctor_name, d.title as doctor_title, a.department_id,
           dep.name as department_name, a.date, s.time_slot, s.location, a.starts_at, a.status,
           a.version, a.reason, a.price, a.payment_no, a.terms, a.pay_by, a.queue_number,
           a.check_in_time, a.created_at, a.symptoms,
           ak.wrapped as account_key, acc.sealed as account_sealed,
           p.data_key_id as patient_key_id, pk.wrapped as patient_key,
           p.sealed as patient_sealed, back.refund_status, back.refunded_amount, a.choose_by
      from appointment a
      join schedule s on s.id = a.schedule_id
      join doctor d on d.id = a.doctor_id
      join department dep on dep.hospital_id = a.hospital_id and dep.id = a.department_id
      join account acc on acc.id = a.account_id
      join data_key ak on ak.id = acc.data_key_id
      join patient p on p.id = a.patient_id
      join data_key pk on pk.id = p.data_key_id
     cross join lateral (
           select case when bool_or(r.status = 'pending') then 'pending'
                       when bool_or(r.status = 'failed') then 'failed'
                       when count(*) > 0 then 'succeeded' end as refund_status,
                  coalesce(sum(r.amount) filter (where r.status <> 'failed'), 0) as refunded_amount
             from refund r
            where r.order_no = a.order_no
              and not (r.status = 'failed' and exists (
                      select 1 from refund l where l.payment_no = r.payment_no
                                               and l.cause = r.cause and l.id > r.id))
           ) as back;
