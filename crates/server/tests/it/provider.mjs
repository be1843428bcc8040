// A provider of identities for tests: the certified oidc-provider, with accounts that sign in by a header.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import http from 'node:http';
import Provider from 'oidc-provider';

const { REDIRECT, PORT = '0', GROUPS = '{}' } = process.env;
const groups = JSON.parse(GROUPS);
let handle = (_, res) => res.end();
const server = http.createServer((req, res) => handle(req, res));

server.listen(Number(PORT), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'stanch', client_secret: 'a secret & more=of it', redirect_uris: [REDIRECT],
      response_types: ['code'], grant_types: ['authorization_code'],
    }],
    jwks: { keys: [{ ...key, kid: randomBytes(8).toString('hex'), use: 'sig', alg: 'RS256' }] },
    pkce: { required: () => true },
    conformIdTokenClaims: false,
    claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    ttl: { Session: 3600, Interaction: 600, Grant: 600, IdToken: 300, AccessToken: 300 },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({
        sub: id, preferred_username: `${id} Lovelace`, email: `${id}@example.org`, email_verified: true,
        groups: groups[id] ?? [],
      }),
    }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope('openid profile email groups');
      await grant.save();
      return grant;
    },
  });
  const callback = provider.callback();
  handle = (req, res) => {
    if (!req.url.startsWith('/interaction/')) return callback(req, res);
    const refused = { error: 'access_denied' };
    const account = req.headers['x-account'];
    return provider.interactionFinished(req, res, account ? { login: { accountId: account } } : refused);
  };
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
