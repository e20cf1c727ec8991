// The caller of a request, as the gateway established it. npm install jose
import { createInterface } from 'node:readline';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const { IDENTITY_ISSUER, IDENTITY_JWKS_URL, CLUSTER } = process.env;
// Fetched when it is older than `cacheMaxAge`, and when a token names a key that is not in it.
const keys = createRemoteJWKSet(new URL(IDENTITY_JWKS_URL), {
  cacheMaxAge: 120_000,
  cooldownDuration: 5_000,
  timeoutDuration: 5_000,
});

/** The claims of a good `x-portcullis-identity`; throws for every other. */
export async function verify(token) {
  const { payload } = await jwtVerify(token, keys, {
    algorithms: ['EdDSA'],
    typ: 'portcullis-identity+jwt',
    issuer: IDENTITY_ISSUER,
    audience: CLUSTER,
    clockTolerance: 5,
    requiredClaims: ['exp', 'iat', 'sub', 'tenant', 'source_type'],
  });
  if (payload.exp - payload.iat > 60) throw new Error('lives longer than an identity token may');
  if (payload.iat > Date.now() / 1000 + 5) throw new Error('is not valid yet');
  return payload;
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const claims = await verify(line.trim());
    console.log(claims.sub, claims.tenant, claims.source_type);
  } catch (error) {
    console.log('refused:', error.message);
  }
}
