//! Mistakes in how requests move step by step, and in what is measured meanwhile.

use super::{GOOD, Mistake, process, spoilt};

pub(super) fn mistakes() -> Vec<Mistake> {
    let mut all = strategies();
    all.extend(analyses());
    all.extend(measures());
    all
}

fn strategies() -> Vec<Mistake> {
    let strategy = |name, text: &str| process(name, "bake = \"1m\"", text);
    let canary =
        |name, more: &str| process(name, "bake = \"1m\"", &format!("kind = \"canary\"\n{more}"));
    let rolling =
        |name, more: &str| process(name, "bake = \"1m\"", &format!("kind = \"rolling\"\n{more}"));
    let moment = |name, text: &str| process(name, "of = \"dependency\"", text);
    vec![
        canary("surge of a canary", "max_surge = 1"),
        canary("unavailable backends of a canary", "max_unavailable = 1"),
        strategy("surge of blue-green", "max_surge = 2"),
        strategy("pause of blue-green", "pause = \"1m\""),
        strategy("stages of blue-green", "stages = [{ weight = 10 }]"),
        rolling("weights of rolling", "weights = [10, 100]"),
        rolling("split of rolling", "by = \"instances\""),
        rolling("rolling without room", "max_surge = 0"),
        rolling("too large a surge", "max_surge = 501"),
        canary("shrinking shares", "weights = [10, 50, 25, 100]"),
        canary("share given twice", "weights = [10, 10, 100]"),
        canary("share of nothing", "weights = [0, 50]"),
        canary("only all requests", "weights = [100]"),
        canary("no shares", "weights = []"),
        canary("weights and stages", "weights = [10, 100]\nstages = [{ weight = 10 }]"),
        canary("stage without a weight", "stages = [{ pause = \"1m\" }]"),
        canary(
            "stage that waits at 100 %",
            "stages = [{ weight = 10 }, { weight = 100, wait = true }]",
        ),
        canary("stages in the wrong order", "stages = [{ weight = 50 }, { weight = 10 }]"),
        canary("unknown split", "by = \"header\""),
        canary("canary without a pause", "pause = \"0s\""),
        rolling("batches without a pause", "pause = \"0s\""),
        canary(
            "stage without a pause",
            "stages = [{ weight = 10 }, { weight = 20, pause = \"0s\" }]",
        ),
        canary(
            "answers too far apart for a stage that waits",
            "stages = [{ weight = 10, pause = \"0s\", wait = true }]",
        ),
        canary(
            "answers too far apart for a stage",
            "stages = [{ weight = 10, pause = \"500ms\" }]",
        ),
        strategy("unknown way to meet another deployment", "on_open = \"wait\""),
        process("nobody is waited for", "healthy = \"30s\"", "decide = \"0s\""),
        moment(
            "dependency during analysis",
            "of = \"dependency\"\nwhen = [\"preflight\", \"analysis\"]",
        ),
        moment("analysis without stages", "of = \"public\"\nwhen = [\"analysis\"]"),
        process(
            "one limit for all that is no answer",
            "interval = \"500ms\"",
            "interval = \"500ms\"\nunanswered_limit = 5",
        ),
    ]
}

pub(super) const ERRORS: &str = "[[analysis.checks]]\nname = \"errors\"\nplugin = \
                                 \"numbers\"\nmeasure = \"errors\"\nerrors = \"failed\"\ntotal = \
                                 \"all\"\n";

/// A good manifest with an analysis; `settings` are keys of the table, `checks` its measures.
pub(super) fn analysed(name: &'static str, settings: &str, checks: &str) -> Mistake {
    let text = spoilt(GOOD, "bake = \"1m\"", "kind = \"canary\"");
    Mistake {
        name,
        text: format!("{text}\n[plugins.numbers]\n\n[analysis]\n{settings}\n{checks}"),
        environment: None,
    }
}

fn analyses() -> Vec<Mistake> {
    let with = |name, settings: &str| analysed(name, settings, ERRORS);
    let mut all = vec![
        analysed("analysis of nothing", "", ""),
        with("share without a percent sign", "false_alarm = \"0.01\""),
        with("share as a number", "missed = 0.01"),
        with("share too fine", "missed = \"0.00001%\""),
        with("share beyond 100 %", "missed = \"150%\""),
        with("no false alarm ever", "false_alarm = \"0%\""),
        with("missed half the time", "missed = \"50%\""),
        with("looks without a distance", "interval = \"0s\""),
        with("looks further apart than a stage", "interval = \"1h\""),
        with("no time to look back on", "lookback = \"0s\""),
        with("unknown way to be undecided", "on_undecided = \"promote\""),
        with("unknown way to meet an outage", "on_outage = \"ignore\""),
        with("fallback without checks", "on_outage = \"fallback\""),
        with("fallback that nobody falls back on", "fallback = [\"health-readyz\"]"),
        with("misspelt fallback", "on_outage = \"fallback\"\nfallback = [\"health-redyz\"]"),
        with("unknown fallback", "on_outage = \"fallback\"\nfallback = [\"smoke\"]"),
        with("fallback on a dependency", "on_outage = \"fallback\"\nfallback = [\"redis\"]"),
        with(
            "fallback given twice",
            "on_outage = \"fallback\"\nfallback = [\"health-readyz\", \"health-readyz\"]",
        ),
        with("fallback on a measure", "on_outage = \"fallback\"\nfallback = [\"errors\"]"),
        analysed(
            "fallback on a check with a mistake",
            "on_outage = \"fallback\"\nfallback = [\"front\"]",
            &format!("{ERRORS}[[checks]]\nname = \"front\"\nplugin = \"front-health\"\n"),
        ),
        with("unknown key of the analysis", "intervall = \"5s\""),
    ];
    let blue_green = spoilt(GOOD, "bake = \"1m\"", "bake = \"0s\"");
    all.push(Mistake {
        name: "analysis at no time",
        text: format!("{blue_green}\n[plugins.numbers]\n\n[analysis]\n{ERRORS}"),
        environment: None,
    });
    all
}

fn measures() -> Vec<Mistake> {
    let check =
        |name: &'static str, from: &str, to: &str| analysed(name, "", &spoilt(ERRORS, from, to));
    let more = |name: &'static str, more: &str| analysed(name, "", &format!("{ERRORS}{more}"));
    let latency = |name: &'static str, more: &str| {
        analysed(
            name,
            "",
            &format!(
                "[[analysis.checks]]\nname = \"latency\"\nplugin = \"numbers\"\nmeasure = \
                 \"latency\"\nbuckets = \"buckets\"\n{more}"
            ),
        )
    };
    let value = |name: &'static str, more: &str| {
        analysed(
            name,
            "",
            &format!(
                "[[analysis.checks]]\nname = \"queue\"\nplugin = \"numbers\"\nmeasure = \
                 \"value\"\nquery = \"queue_length\"\n{more}"
            ),
        )
    };
    let several = analysed(
        "several plugins could be asked",
        "",
        &ERRORS.replace("plugin = \"numbers\"\n", ""),
    );
    let several = Mistake {
        text: several.text.replace("[plugins.numbers]", "[plugins.numbers]\n[plugins.others]"),
        ..several
    };
    let none =
        analysed("no plugin could be asked", "", &ERRORS.replace("plugin = \"numbers\"\n", ""));
    let none =
        Mistake { text: none.text.replace("[plugins.numbers]", "[plugins.http-health]"), ..none };
    vec![
        several,
        none,
        check("plugin of a measure not declared", "plugin = \"numbers\"", "plugin = \"numebrs\""),
        check("measure without a name", "name = \"errors\"\n", ""),
        check("measure named like a check", "name = \"errors\"", "name = \"redis\""),
        check(
            "measure named like an endpoint's check",
            "name = \"errors\"",
            "name = \"health-readyz\"",
        ),
        check("bad name of a measure", "name = \"errors\"", "name = \"Error rate\""),
        more("measure name given twice", ERRORS),
        check("unknown measure", "measure = \"errors\"", "measure = \"failures\""),
        check("no measure", "measure = \"errors\"\n", ""),
        check("errors without a total", "total = \"all\"\n", ""),
        check("errors of themselves", "total = \"all\"", "total = \"failed\""),
        check("empty query", "total = \"all\"", "total = \"\""),
        check("empty table of a query", "total = \"all\"", "total = {}"),
        check("query as a list", "total = \"all\"", "total = [\"all\"]"),
        more("quantile of errors", "quantile = 0.9\n"),
        more("smallest share of errors", "min = 0\n"),
        more("rhythm of a measure", "interval = \"1s\"\n"),
        more("greatest share as a number", "max = 0.05\n"),
        more("greatest share of nothing", "max = \"0%\"\n"),
        more("greatest share of all", "max = \"100%\"\n"),
        more("greatest share as a duration", "max = \"300ms\"\n"),
        more("stable side has to be worse", "max_ratio_to_stable = 0.5\n"),
        more("detection of nothing", "detect = \"0%\"\n"),
        more("required and only reported", "required = true\nreport_only = true\n"),
        more("query that takes no time", "timeout = \"0s\"\n"),
        more("success of nothing", "consecutive_success = 0\n"),
        latency("count of latency", "count = 3\n"),
        latency("errors of latency", "errors = \"failed\"\n"),
        latency("quantile in percent", "quantile = 99\n"),
        latency("greatest latency as a number", "max = 0.3\n"),
        latency("greatest latency as a share", "max = \"5%\"\n"),
        latency("greatest latency of nothing", "max = \"0s\"\n"),
        latency("slower less often than not", "max_slower = 0.4\n"),
        value("value without a limit", ""),
        value("reversed limits", "min = 10\nmax = 5\n"),
        value("greatest value as a text", "max = \"5%\"\n"),
        value("detection in a value", "max = 5\ndetect = \"1%\"\n"),
        value("no looks at a value", "max = 5\ncount = 0\n"),
    ]
}
