//! `bench`: what plugins, switches and deployments cost on this machine, as medians of one run with
//! the aims beside them. Nothing is asserted.

#![expect(
    clippy::expect_used,
    reason = "what can't be measured here ends the run with what was expected"
)]
#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

mod deployments;
mod plugins;
mod programs;
mod table;
mod test_guest;

use agente_tests::own_folder;
use agente_tests::scene::Scene;
use std::io::Write as _;
use std::process::ExitCode;
use table::Table;

fn main() -> ExitCode {
    let Some(guest) = std::env::args_os().nth(1) else {
        let _ = writeln!(
            std::io::stderr(),
            "bench: name the component of the plugin for tests, as `tests/bin/bench` does"
        );
        return ExitCode::from(2);
    };
    if let Err(error) = own_folder::take("bench") {
        let _ = writeln!(std::io::stderr(), "{error}");
        return ExitCode::from(2);
    }
    // The same runtime as the host's own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut scene = Scene::new();
    let shop = scene.service("shop");
    let mut table = Table::default();
    programs::size(&mut table);
    deployments::measure(&mut scene, &shop, &mut table);
    programs::measure(&shop, &mut table);
    runtime.block_on(plugins::measure(&scene, &shop, &mut table));
    runtime.block_on(test_guest::measure(&scene, guest.as_ref(), &mut table));
    table.print();
    ExitCode::SUCCESS
}
