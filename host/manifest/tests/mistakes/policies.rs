//! Mistakes in policies.

use super::*;

pub(super) fn policies() -> Vec<Mistake> {
    let probe = "url = \"http://127.0.0.1:8080/healthz\"";
    let with = |more: &str| format!("{probe}\n{more}");
    vec![
        process("bad URL", probe, "url = \"shop.example\""),
        process("URL of another scheme", probe, "url = \"ftp://shop.example/\""),
        process("password in the URL", probe, "url = \"https://me:hunter2@shop.example/\""),
        process("address without a port", probe, &with("connect = \"127.0.0.1\"")),
        process("bad host", probe, &with("host = \"shop example\"")),
        process("authorities not there", probe, "url = \"https://shop.example/\"\nca = \"ca.pem\""),
        process(
            "authorities without a certificate",
            probe,
            "url = \"https://shop.example/\"\nca = \"notes.txt\"",
        ),
        process("rate of nothing", probe, &with("rate = 0")),
        process("rate of almost nothing", probe, &with("rate = 1e-18")),
        process("baseline too short", probe, &with("baseline = \"2s\"")),
        process("negative budget", probe, &with("budget = -1")),
        process("bad path for POST", probe, &with("post_path = \"api/echo\"")),
        process("bad header name", probe, &with("identity = { header = \"X Release\" }")),
        process(
            "identity that proves nothing",
            probe,
            &with("identity = { header = \"X-Release\", value = \"shop\" }"),
        ),
        process("unknown strategy", "bake = \"1m\"", "kind = \"canry\""),
        process("weight over 100 %", "bake = \"1m\"", "weights = [10, 150]"),
        process("weight too fine", "bake = \"1m\"", "weights = [0.001, 100]"),
        process("weight as a text", "bake = \"1m\"", "weights = [\"50%\"]"),
        process("weights of another strategy", "bake = \"1m\"", "weights = [10, 100]"),
        process("bad keep_previous", "bake = \"1m\"", "keep_previous = \"forever\""),
        process("drain that never ends", "bake = \"1m\"", "drain = { timeout = \"0s\" }"),
        process(
            "bad override name",
            "bake = \"1m\"",
            "override = [{ name = \"X Preview\", value = \"new\" }]",
        ),
        process(
            "bad cookie value",
            "bake = \"1m\"",
            "override = [{ by = \"cookie\", name = \"preview\", value = \"a;b\" }]",
        ),
        process(
            "override given twice",
            "bake = \"1m\"",
            "override = [{ name = \"X-Preview\", value = \"new\" }, { name = \"x-preview\", value \
             = \"new\" }]",
        ),
        process("timeout of nothing", "healthy = \"30s\"", "healthy = \"0s\""),
        appended(
            "textfile that nobody reads",
            "[metrics]\ntextfile = \"/var/lib/node_exporter/shop.txt\"\n",
        ),
        appended("gateway by another scheme", "[metrics]\npush = \"ftp://push.internal\"\n"),
        appended(
            "password in the gateway's URL",
            "[metrics]\npush = \"http://me:hunter2@push.internal:9091\"\n",
        ),
        process("bad disk size", "[timeouts]\nhealthy = \"30s\"", "[disk]\nmin_free = 500"),
    ]
}
