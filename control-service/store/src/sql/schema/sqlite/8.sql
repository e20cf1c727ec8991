-- What a token of the platform API may do. Those of before are administrators'.
ALTER TABLE administrator ADD COLUMN role TEXT NOT NULL DEFAULT 'administrator'
    CHECK (role IN ('administrator', 'operator', 'auditor', 'tenant-admin', 'cluster-owner'));
-- What the role is bound to.
ALTER TABLE administrator ADD COLUMN tenant TEXT;
ALTER TABLE administrator ADD COLUMN cluster TEXT;
CREATE INDEX administrator_by_tenant ON administrator (tenant, id) WHERE tenant IS NOT NULL;

-- Who has suspended a cluster: owner, tenant, platform, with a space between, the highest last. Until now only the
-- platform could.
ALTER TABLE cluster ADD COLUMN suspended_by TEXT NOT NULL DEFAULT '';
UPDATE cluster SET suspended_by = 'platform' WHERE administrative = 'suspended';

-- Whose word a revocation is.
ALTER TABLE revocation ADD COLUMN made_by TEXT NOT NULL DEFAULT 'platform' CHECK (made_by IN ('tenant', 'platform'));
