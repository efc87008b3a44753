//! Ratios of pairs.

/// The ratio of each pair of a comparison.
#[derive(Default)]
pub struct Ratios(Vec<f64>);

impl Ratios {
    /// Adds a pair's.
    pub fn add(&mut self, ratio: f64) {
        self.0.push(ratio);
    }

    /// Prints all, and their median, minimum and maximum.
    pub fn print(&self, title: &str, wanted: &str) {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let all: Vec<String> = self.0.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let (median, least, most) = (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1]);
        println!("{title}: {}", all.join(" "));
        println!("{title}: median {median:.2}, minimum {least:.2}, maximum {most:.2}{wanted}");
    }
}
