-- What the credit grants of phases cost, billed with each issue.

-- The price of such a charge is the id of the grant's terms.
alter table invoice_charge
    drop constraint invoice_charge_reason,
    add constraint invoice_charge_reason check (reason in ('SCHEDULE', 'OVERAGE', 'CREDIT_GRANT'));
