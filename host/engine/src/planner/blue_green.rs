//! Blue-green: one shift to 100 %.

use super::climb::Climb;

impl Climb<'_> {
    pub(super) fn at_once(&mut self) {
        self.launch(self.backends);
        let stable = self.inputs.state.stable.as_ref();
        if let Some(stable) = stable {
            self.preview(stable);
        }
        self.take_all(stable.map(|stable| (stable.release, stable.backends.clone())));
    }
}
