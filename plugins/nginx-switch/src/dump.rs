//! What `nginx -T` prints: the configuration that stands on the disk, file by file. Never what is
//! loaded.

/// One directive with the names of the blocks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Its name, then its parameters, without quotes.
    pub words: Vec<String>,
    /// The blocks around it, outermost first; known within its file only.
    pub inside: Vec<String>,
    /// The file that it stands in.
    pub file: String,
}

impl Directive {
    /// Its name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// A parameter, from 1.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    /// Its files with their texts, the main one first.
    pub files: Vec<(String, String)>,
    /// Its directives in the order of the files.
    pub directives: Vec<Directive>,
}

/// Begins the text of a file.
const FILE_LINE: &str = "# configuration file ";

impl Dump {
    /// Reads what `nginx -T` printed.
    pub fn read(text: &str) -> Self {
        let mut dump = Self::default();
        for line in text.split_inclusive('\n') {
            match line.strip_prefix(FILE_LINE).and_then(|rest| rest.trim_end().strip_suffix(':')) {
                Some(path) => dump.files.push((path.to_owned(), String::new())),
                None => {
                    if let Some((_, text)) = dump.files.last_mut() {
                        text.push_str(line);
                    }
                }
            }
        }
        dump.directives =
            dump.files.iter().flat_map(|(path, text)| directives(path, text)).collect();
        dump
    }

    /// The text of a file by its path.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }

    /// All directives of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.directives.iter().filter(move |directive| directive.name() == name)
    }

    /// Whether an `include` would take up the file at `path`.
    pub fn includes(&self, path: &str) -> bool {
        let folder = self
            .files
            .first()
            .map_or("", |(main, _)| main.rsplit_once('/').map_or("", |(folder, _)| folder));
        self.all("include").any(|include| {
            let pattern = include.word(1);
            if pattern.starts_with('/') {
                matches(pattern, path)
            } else {
                matches(&format!("{folder}/{pattern}"), path)
            }
        })
    }
}

/// Reads the directives of one file. Blocks in another language, such as Lua, come out as
/// directives that mean nothing here.
fn directives(file: &str, text: &str) -> Vec<Directive> {
    let mut found = Vec::new();
    let (mut words, mut word, mut inside): (Vec<String>, Option<String>, Vec<String>) =
        (Vec::new(), None, Vec::new());
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if let Some(mark) = quote {
            match character {
                '\\' => {
                    if let Some(next) = characters.next() {
                        word.get_or_insert_default().push(next);
                    }
                }
                _ if character == mark => quote = None,
                _ => word.get_or_insert_default().push(character),
            }
            continue;
        }
        match character {
            '"' | '\'' if word.is_none() => {
                quote = Some(character);
                word = Some(String::new());
            }
            '#' if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            '\\' => word.get_or_insert_default().extend(characters.next()),
            // `${name}` is a variable, not a block.
            '{' if word.as_ref().is_some_and(|word| word.ends_with('$')) => {
                word.get_or_insert_default().push('{');
                while let Some(next) = characters.next_if(|next| *next != '}') {
                    word.get_or_insert_default().push(next);
                }
                word.get_or_insert_default().extend(characters.next());
            }
            ';' | '{' | '}' => {
                words.extend(word.take());
                if character == '{' {
                    inside.push(words.first().cloned().unwrap_or_default());
                }
                if !words.is_empty() {
                    let outside = inside.len().saturating_sub(usize::from(character == '{'));
                    let inside = inside.get(..outside).unwrap_or_default().to_vec();
                    found.push(Directive {
                        words: std::mem::take(&mut words),
                        inside,
                        file: file.to_owned(),
                    });
                }
                if character == '}' {
                    inside.pop();
                }
            }
            _ if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    found
}

/// Whether a path fits a shell pattern; `*` and `?` stop at `/`, `[…]` is a set.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut paths) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), paths.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) => {
                let pattern: Vec<char> = pattern.chars().collect();
                let part: Vec<char> = part.chars().collect();
                if !part_matches(&pattern, &part) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn part_matches(pattern: &[char], part: &[char]) -> bool {
    match pattern.split_first() {
        None => part.is_empty(),
        Some(('*', rest)) => (0..=part.len())
            .any(|skip| part.get(skip..).is_some_and(|part| part_matches(rest, part))),
        Some(('[', rest)) => {
            let Some(end) = rest.iter().position(|character| *character == ']') else {
                return false;
            };
            let (set, rest) = rest.split_at(end);
            let Some((first, part)) = part.split_first() else { return false };
            let (negated, set) = match set.split_first() {
                Some(('!' | '^', set)) => (true, set),
                _ => (false, set),
            };
            in_set(set, *first) != negated && part_matches(rest.get(1..).unwrap_or_default(), part)
        }
        Some((wanted, rest)) => part.split_first().is_some_and(|(first, part)| {
            (*wanted == '?' || wanted == first) && part_matches(rest, part)
        }),
    }
}

fn in_set(set: &[char], character: char) -> bool {
    match set {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&character) || in_set(rest, character),
        [one, rest @ ..] => *one == character || in_set(rest, character),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# configuration file /etc/nginx/nginx.conf:
worker_processes 2; # two
pid "/run/my nginx.pid";
http {
    include mime.types;
    include agente/*.conf;
    server {
        listen 80;
        location ~ \.php$ { return 200 "a;b{c}"; }
        location / { proxy_pass http://${agente_shop_production_pool}; add_header X-Agente-Slot $agente_shop_production_slot always; }
    }
}

# configuration file /etc/nginx/mime.types:
types { text/html html; }
"#;

    #[test]
    fn directives_are_read_with_their_files_and_blocks() {
        let dump = Dump::read(TEXT);
        assert_eq!(dump.all("pid").next().map(|pid| pid.word(1)), Some("/run/my nginx.pid"));
        let pass = dump.all("proxy_pass").next().unwrap();
        assert_eq!(pass.word(1), "http://${agente_shop_production_pool}");
        assert_eq!(pass.inside, ["http", "server", "location"]);
        assert_eq!(dump.all("return").next().unwrap().words, ["return", "200", "a;b{c}"]);
        assert_eq!(dump.all("types").next().unwrap().file, "/etc/nginx/mime.types");
        assert_eq!(dump.all("two").count(), 0);
    }

    #[test]
    fn an_include_is_relative_to_the_main_file() {
        let dump = Dump::read(TEXT);
        assert!(dump.includes("/etc/nginx/agente/agente-shop.production.conf"));
        assert!(!dump.includes("/etc/nginx/agente/deeper/agente-shop.production.conf"));
        assert!(!dump.includes("/etc/nginx/other/agente-shop.production.conf"));
    }

    #[test]
    fn patterns_stop_at_slashes_and_know_sets() {
        assert!(matches("/a/*.conf", "/a/b.conf"));
        assert!(matches("/a/[a-c]?.conf", "/a/bx.conf"));
        assert!(!matches("/a/[!a-c]?.conf", "/a/bx.conf"));
        assert!(!matches("/a/*", "/a/b/c"));
        assert!(!matches("/a/b", "/a"));
    }
}
