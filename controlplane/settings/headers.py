"""What browsers may do on pages of the portal. What answers that are no pages say is in controlplane.common.headers."""

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

# Scripts come from files of this portal alone. Nothing inline runs on any page: no <script>, no onclick.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
# What the pages of unfold need beyond that: Alpine compiles the expressions of its attributes, and the colours, htmx
# and some widgets come as inline styles. It takes no nonce for them.
CSP_OF_CONSOLE = {"script-src": [UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]}
# What Swagger UI needs: it styles as it renders, and carries its icons in its style sheet.
CSP_OF_API_DOCS = {"style-src": [SELF, UNSAFE_INLINE], "img-src": [SELF, "data:"]}
