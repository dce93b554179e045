-- A consultation as people look at it: joined with what its reader wants to see, seals unopened.
create view consultation_order as
    select c.*, d.name as doctor_name, d.title as doctor_title, d.account_id as doctor_account_id,
           dep.name as department_name, n.sealed as conclusion, n.kind as conclusion_kind,
           ak.wrapped as account_key, acc.sealed as account_sealed,
           p.data_key_id as patient_key_id, pk.wrapped as patient_key,
           p.sealed as patient_sealed, back.refund_status, back.refunded_amount
      from consultation c
      left join doctor d on d.id = c.doctor_id
      left join consultation_note n on n.id = c.conclusion_id
      join department dep on dep.hospital_id = c.hospital_id and dep.id = c.department_id
      join account acc on acc.id = c.account_id
      join data_key ak on ak.id = acc.data_key_id
      join patient p on p.id = c.patient_id
      join data_key pk on pk.id = p.data_key_id
     cross join lateral (
           select case when bool_or(r.status = 'pending') then 'pending'
                       when bool_or(r.status = 'failed') then 'failed'
                       when bool_or(r.status = 'succeeded') then 'succeeded' end as refund_status,
                  coalesce(sum(r.amount) filter (where r.status <> 'failed'), 0) as refunded_amount
             from refund r where r.order_no = c.order_no) as back;
