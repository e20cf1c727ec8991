// The caller of a request, as the gateway established it.
// io.jsonwebtoken:jjwt-api, jjwt-impl and jjwt-jackson 0.12 or newer; Java 17 or newer.
import io.jsonwebtoken.Claims;
import io.jsonwebtoken.Header;
import io.jsonwebtoken.Jws;
import io.jsonwebtoken.JwsHeader;
import io.jsonwebtoken.JwtException;
import io.jsonwebtoken.Jwts;
import io.jsonwebtoken.security.Jwk;
import io.jsonwebtoken.security.Jwks;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.Key;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

public final class Verify {
    private static final String ISSUER = System.getenv("IDENTITY_ISSUER");
    private static final String CLUSTER = System.getenv("CLUSTER");
    private static final URI KEYS = URI.create(System.getenv("IDENTITY_JWKS_URL"));
    private static final HttpClient HTTP =
            HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();

    private static Map<String, Key> keys = new HashMap<>();
    private static long fetched;
    private static boolean fetchedOnce;

    /** Fetches the key set when it is two minutes old, and when a key is missing, once in five seconds. */
    private static synchronized Key key(Header header) {
        String kid = ((JwsHeader) header).getKeyId();
        long age = (System.nanoTime() - fetched) / 1_000_000_000L;
        if (!fetchedOnce || age > 120 || (!keys.containsKey(kid) && age >= 5)) {
            fetched = System.nanoTime();
            fetchedOnce = true;
            try {
                HttpRequest request = HttpRequest.newBuilder(KEYS).timeout(Duration.ofSeconds(5)).build();
                String body = HTTP.send(request, HttpResponse.BodyHandlers.ofString()).body();
                Map<String, Key> next = new HashMap<>();
                for (Jwk<?> jwk : Jwks.setParser().build().parse(body)) {
                    next.put(jwk.getId(), jwk.toKey());
                }
                keys = next;
            } catch (Exception outage) {
                System.err.println("the last good key set stays in use: " + outage);
            }
        }
        return keys.get(kid);
    }

    /** The claims of a good x-portcullis-identity; throws JwtException for every other. */
    public static Claims verify(String token) {
        Jws<Claims> jws = Jwts.parser().keyLocator(Verify::key)
                .requireIssuer(ISSUER).clockSkewSeconds(5).build().parseSignedClaims(token);
        Claims claims = jws.getPayload();
        boolean whole = claims.getSubject() != null && claims.getExpiration() != null
                && claims.getIssuedAt() != null && claims.get("tenant") != null
                && claims.get("source_type") != null && claims.getAudience() != null;
        if (!"portcullis-identity+jwt".equals(jws.getHeader().getType())
                || !"EdDSA".equals(jws.getHeader().getAlgorithm()) || !whole
                || !claims.getAudience().contains(CLUSTER)
                || claims.getIssuedAt().getTime() > System.currentTimeMillis() + 5_000
                || claims.getExpiration().getTime() - claims.getIssuedAt().getTime() > 60_000) {
            throw new JwtException("not an identity token for this cluster");
        }
        return claims;
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            try {
                Claims claims = verify(line.strip());
                System.out.println(claims.getSubject() + " " + claims.get("tenant") + " " + claims.get("source_type"));
            } catch (JwtException | IllegalArgumentException error) {
                System.out.println("refused: " + error.getMessage());
            }
        }
    }
}
