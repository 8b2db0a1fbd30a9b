//! Mistakes about plugins and checks.

use super::*;

pub(super) fn plugins_and_checks() -> Vec<Mistake> {
    vec![
        process(
            "plugin file not there",
            "[plugins.nginx-switch]\n",
            "[plugins.nginx-switch]\npath = \"nginx-switch.wasm\"\n",
        ),
        process(
            "plugin is a folder",
            "[plugins.nginx-switch]\n",
            "[plugins.nginx-switch]\npath = \"build\"\n",
        ),
        process("bad plugin name", "[plugins.nginx-switch]", "[plugins.Nginx_Switch]"),
        process(
            "switch plugin not declared",
            "plugin = \"nginx-switch\"",
            "plugin = \"alb-switch\"",
        ),
        process("switch plugin misspelt", "plugin = \"nginx-switch\"", "plugin = \"nginx-swich\""),
        process(
            "check plugin not declared",
            "plugin = \"tcp-health\"",
            "plugin = \"graphite-health\"",
        ),
        appended(
            "check name given twice",
            "[[checks]]\nname = \"redis\"\nplugin = \"tcp-health\"\nof = \"dependency\"\nspec = { \
             address = \"127.0.0.1:6380\" }\n",
        ),
        appended(
            "address given twice",
            "[[checks]]\nname = \"cache\"\nplugin = \"tcp-health\"\nof = \"dependency\"\nspec = { \
             address = \"127.0.0.1:6379\" }\n",
        ),
        process("bad check name", "name = \"redis\"", "name = \"Redis server\""),
        process(
            "public check without a probe",
            "[probe]\nurl = \"http://127.0.0.1:8080/healthz\"\n",
            "[[checks]]\nname = \"front\"\nplugin = \"http-health\"\nof = \"public\"\n",
        ),
        process(
            "public check before it is public",
            "of = \"dependency\"",
            "of = \"public\"\nwhen = [\"ready\"]",
        ),
        process(
            "unknown moment",
            "of = \"dependency\"",
            "of = \"dependency\"\nwhen = [\"preflght\"]",
        ),
        process("no moment", "of = \"dependency\"", "of = \"dependency\"\nwhen = []"),
        process(
            "moment given twice",
            "of = \"dependency\"",
            "of = \"dependency\"\nwhen = [\"preflight\", \"preflight\"]",
        ),
        process(
            "timeout longer than the interval",
            "interval = \"500ms\"",
            "interval = \"500ms\"\ntimeout = \"2s\"",
        ),
        process("interval of nothing", "interval = \"500ms\"", "interval = \"0s\""),
        process(
            "more answers than time",
            "interval = \"500ms\"",
            "interval = \"10s\"\nhealthy_after = 5",
        ),
        process("endpoint without a slash", "\"/readyz\"", "\"readyz\""),
        process("endpoint given twice", "\"/readyz\"", "\"/healthz\""),
        process("no endpoints", "[\"/healthz\", \"/readyz\"]", "[]"),
        process("bad status", "\"/readyz\"", "{ path = \"/readyz\", status = \"299-200\" }"),
        process("status out of range", "\"/readyz\"", "{ path = \"/readyz\", status = 99 }"),
        process(
            "bad status in a list",
            "\"/readyz\"",
            "{ path = \"/readyz\", status = [200, \"2xx\"] }",
        ),
        process(
            "bad expected header",
            "\"/readyz\"",
            "{ path = \"/readyz\", headers = { x = { includes = \"y\" } } }",
        ),
        process(
            "bad release header",
            "\"/readyz\"",
            "{ path = \"/readyz\", release_header = \"X Release\" }",
        ),
        process(
            "bad pointer",
            "\"/readyz\"",
            "{ path = \"/readyz\", json = { \"db.state\" = \"up\" } }",
        ),
        process(
            "unknown key of an endpoint",
            "\"/readyz\"",
            "{ path = \"/readyz\", header = { x = \"y\" } }",
        ),
        process(
            "body of a HEAD",
            "\"/readyz\"",
            "{ path = \"/readyz\", method = \"HEAD\", body_contains = \"ok\" }",
        ),
    ]
}
