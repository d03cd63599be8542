//! What each instruction parses to.

use std::borrow::Cow;

use archway_dockerfile::ast::{
    Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, Kind, Run, Script, Word,
};
use archway_dockerfile::{mount::MountKey, parse, parse_onbuild};

fn dockerfile(text: &str) -> Dockerfile {
    parse("Dockerfile", text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The only instruction of a stage.
fn instruction(text: &str) -> Instruction {
    let text = format!("FROM scratch\n{text}");
    let mut stages = dockerfile(&text).stages;
    let mut instructions = stages.pop().expect("a stage").instructions;
    assert_eq!((stages.len(), instructions.len()), (0, 1), "{text}");
    instructions.pop().expect("an instruction")
}

fn kind(text: &str) -> Kind {
    instruction(text).kind
}

fn run(text: &str) -> Run {
    match kind(text) {
        Kind::Run(run) => run,
        other => panic!("{text}: {other:?}"),
    }
}

fn copy(text: &str) -> Copy {
    match kind(text) {
        Kind::Copy(copy) | Kind::Add(copy) => copy,
        other => panic!("{text}: {other:?}"),
    }
}

fn values(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.value.as_str()).collect()
}

fn value(word: &Option<Word>) -> Option<&str> {
    word.as_ref().map(|word| word.value.as_str())
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn exec(words: &[&str]) -> Command {
    Command::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn stages() {
    let file = dockerfile(
        "ARG BASE=debian\nARG A B=2\nfrom --platform=$BUILDPLATFORM $BASE:12 as Build-1.x\nRUN make\n\
         FROM build-1.x\n\nFROM scratch AS last\nCOPY --from=0 / /\nCMD x\n",
    );
    assert_eq!(file.global_args.len(), 2);
    let [first, second, third] = file.stages.as_slice() else { panic!("{:?}", file.stages) };
    assert_eq!(first.base.value, "$BASE:12");
    assert_eq!(value(&first.platform), Some("$BUILDPLATFORM"));
    assert_eq!(value(&first.name), Some("build-1.x"));
    assert_eq!(file.source.slice(first.span), "from --platform=$BUILDPLATFORM $BASE:12 as Build-1.x");
    assert_eq!((second.index, second.base.value.as_str(), &second.name), (1, "build-1.x", &None));
    assert_eq!(third.instructions.len(), 2);
}

#[test]
fn a_stage_name_may_be_given_again() {
    let file = dockerfile("FROM a AS x\nFROM b AS x\n");
    assert_eq!(file.stages.iter().filter(|stage| value(&stage.name) == Some("x")).count(), 2);
}

#[test]
fn directives() {
    let table = [
        ("FROM a", '\\', None, None),
        ("# escape=`\nFROM a", '`', None, None),
        ("#ESCAPE = ` \r\nFROM a", '`', None, None),
        (
            "\u{feff}# syntax=docker/dockerfile:1 extra\n#check=skip=all\nFROM a",
            '\\',
            Some("docker/dockerfile:1"),
            Some("skip=all"),
        ),
        // They end with the first line that is none.
        ("# comment\n# escape=`\nFROM a", '\\', None, None),
        ("\n# escape=`\nFROM a", '\\', None, None),
        ("# unknown=1\n# escape=`\nFROM a", '\\', None, None),
        ("# syntax=a\n#\n# escape=`\nFROM a", '\\', Some("a"), None),
        ("# escape=\n# escape=`\nFROM a", '\\', None, None),
        ("#!/usr/bin/env x\n# syntax=a\n# escape=`\nFROM a", '\\', Some("a"), None),
        // Behind a `#!` line the first of two counts, and what is wrong with `escape` does not matter.
        ("#!/usr/bin/env x\n# syntax=a\n# syntax=b\n# check=skip=all\nFROM a", '\\', Some("a"), None),
        ("#!/usr/bin/env x\n# escape=z\n# check=skip=all\nFROM a", '\\', None, Some("skip=all")),
        // Indented, only `escape` is a directive; the others end there.
        (" # syntax=a\n# escape=`\nFROM a", '`', None, None),
        ("# syntax=a\n\t# escape=`\n# check=skip=all\nFROM a", '`', Some("a"), None),
    ];
    for (text, escape, syntax, check) in table {
        let file = dockerfile(text);
        assert_eq!(file.escape, escape, "{text}");
        assert_eq!(value(&file.syntax), syntax, "{text}");
        assert_eq!(value(&file.check), check, "{text}");
        for directive in file.syntax.iter().chain(&file.check) {
            assert_eq!(file.source.slice(directive.span), directive.value, "{text}");
        }
    }
}

#[test]
fn logical_lines() {
    let table = [
        ("RUN a \\\n  b", "RUN a   b"),
        ("RUN a \\\r\n  b\r\n", "RUN a   b"),
        ("RUN a\\  \t\nb", "RUN ab"),
        ("RUN a \\\n# comment\n  # another \\\n  b", "RUN a   b"),
        ("RUN a \\\n\n   \n  b", "RUN a   b"),
        ("   RUN   a  ", "RUN   a"),
        ("run a", "RUN a"),
        ("\\\nRUN a", "RUN a"),
        // An escaped escape is no continuation.
        ("RUN a \\\\", "RUN a \\\\"),
        ("RUN a # no comment", "RUN a # no comment"),
        ("RUN a \\", "RUN a"),
        ("RUN a `\n", "RUN a `"),
    ];
    for (text, line) in table {
        assert_eq!(instruction(text).line, line, "{text:?}");
    }
    let file = dockerfile("# escape=`\nFROM a\nRUN a `\n b\\\n");
    assert_eq!(file.stages[0].instructions[0].line, "RUN a  b\\");
}

#[test]
fn spans_lead_through_continuations() {
    let text = "\u{feff}FROM a\nENV one=1 \\\n  # why\n  two=\"2 2\"\nRUN <<EOF\nx\nEOF\n";
    let file = dockerfile(text);
    let [env, run] = file.stages[0].instructions.as_slice() else { panic!() };
    assert_eq!(file.source.slice(env.span), "ENV one=1 \\\n  # why\n  two=\"2 2\"");
    let Kind::Env(pairs) = &env.kind else { panic!() };
    let texts: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (file.source.slice(key.span), file.source.slice(value.span)))
        .collect();
    assert_eq!(texts, [("one", "1"), ("two", "\"2 2\"")]);
    assert_eq!(file.source.slice(run.span), "RUN <<EOF\nx\nEOF");
    assert_eq!(file.source.slice(run.kind.heredocs()[0].span), "x\n");
    let place = file.source.position(pairs[1].0.span.start);
    assert_eq!((place.line, place.column), (4, 3));
    assert_eq!(file.source.lines(env.span), (2, 4));
    assert_eq!(file.source.line(4), Some("  two=\"2 2\""));
}

#[test]
fn shell_and_exec_form() {
    let table = [
        ("CMD a b", shell("a b")),
        ("CMD [\"a\", \"b c\"]", exec(&["a", "b c"])),
        ("CMD   [ \"a\" , \"\\\"\\u00e9\" ] ", exec(&["a", "\"é"])),
        ("CMD []", exec(&[])),
        ("CMD", shell("")),
        // Half a surrogate pair is U+FFFD, as Go reads it.
        (
            r#"CMD ["\ud83d\ude00", "\ud83d", "\ude00\ud83d", "\\ud83d"]"#,
            exec(&["😀", "\u{fffd}", "\u{fffd}\u{fffd}", "\\ud83d"]),
        ),
        // Not JSON, so for the shell.
        ("CMD ['a']", shell("['a']")),
        ("CMD [\"a\"", shell("[\"a\"")),
        ("CMD [ -f x ] && y", shell("[ -f x ] && y")),
        ("CMD [\"a\"] b", shell("[\"a\"] b")),
        ("CMD {\"a\": 1}", shell("{\"a\": 1}")),
        ("CMD \"a b\"", shell("\"a b\"")),
        ("CMD a  \\\n  b", shell("a    b")),
        ("CMD -- --help", shell("--help")),
    ];
    for (text, expected) in table {
        assert_eq!(kind(text), Kind::Cmd(expected.clone()), "{text}");
        let text = text.replacen("CMD", "ENTRYPOINT", 1);
        assert_eq!(kind(&text), Kind::Entrypoint(expected), "{text}");
    }
    assert_eq!(kind("SHELL [\"/bin/bash\", \"-c\"]"), Kind::Shell(vec!["/bin/bash".into(), "-c".into()]));
}

#[test]
fn run_flags() {
    let run = run(
        "RUN --mount=type=cache,target=/c --mount='type=bind,src=a b' --network=none --security=insecure \
                   --device=vendor.com/d=1 make --jobs=2",
    );
    assert_eq!(run.command, shell("make --jobs=2"));
    let sources: Vec<&str> =
        run.mounts.iter().filter_map(|mount| Some(mount.value(MountKey::Source)?.value.as_str())).collect();
    assert_eq!((run.mounts.len(), sources), (2, vec!["a b"]));
    assert_eq!(values(&run.devices), ["vendor.com/d=1"]);
    assert_eq!((value(&run.network), value(&run.security)), (Some("none"), Some("insecure")));
    assert_eq!(run.script(), Some(Script::Shell(Cow::Borrowed("make --jobs=2"))));
}

#[test]
fn copy_and_add() {
    let all = copy(
        "COPY --from=build --chown=1:$GID --chmod=755 --link --parents=false --exclude=*.o --exclude=*.a a* b\\ c /d/",
    );
    assert_eq!(values(&all.sources), ["a*", "b\\", "c"]);
    assert_eq!(all.destination.value, "/d/");
    assert_eq!(
        (value(&all.from), value(&all.chown), value(&all.chmod)),
        (Some("build"), Some("1:$GID"), Some("755"))
    );
    assert_eq!((all.link, all.parents), (true, false));
    assert_eq!(values(&all.exclude), ["*.o", "*.a"]);

    let json = copy("COPY [\"a b\", \"$X\", \"/d e/\"]");
    assert_eq!((values(&json.sources), json.destination.value.as_str()), (vec!["a b", "$X"], "/d e/"));

    let add = copy("ADD --checksum=sha256:1 --keep-git-dir --unpack=FALSE https://x/y /z");
    assert_eq!(value(&add.checksum), Some("sha256:1"));
    assert_eq!((add.keep_git_dir, add.unpack), (Some(true), Some(false)));
    let plain = copy("ADD a b");
    assert_eq!((plain.keep_git_dir, plain.unpack), (None, None));
}

#[test]
fn a_flag_and_its_value_have_their_own_places() {
    let file = dockerfile("FROM a\nCOPY --chown=\"1:2\" a b");
    let Kind::Copy(copy) = &file.stages[0].instructions[0].kind else { panic!() };
    let chown = copy.chown.as_ref().unwrap();
    assert_eq!((chown.value.as_str(), file.source.slice(chown.span)), ("1:2", "\"1:2\""));
}

#[test]
fn pairs() {
    let table: [(&str, &[(&str, &str)]); 10] = [
        ("a=b", &[("a", "b")]),
        ("a=b c=d", &[("a", "b"), ("c", "d")]),
        ("a=\"b c\" d='e f' g=h\\ i", &[("a", "\"b c\""), ("d", "'e f'"), ("g", "h\\ i")]),
        ("a= b=", &[("a", ""), ("b", "")]),
        ("a=b=c", &[("a", "b=c")]),
        ("a=\"it's \\\" so\" b='\\'", &[("a", "\"it's \\\" so\""), ("b", "'\\'")]),
        ("\"a b\"=c", &[("\"a b\"", "c")]),
        // The old form.
        ("a b", &[("a", "b")]),
        ("a b=c  d", &[("a", "b=c  d")]),
        ("a  \"b c\"", &[("a", "\"b c\"")]),
    ];
    for (text, expected) in table {
        for keyword in ["ENV", "LABEL"] {
            let (Kind::Env(pairs) | Kind::Label(pairs)) = kind(&format!("{keyword} {text}")) else {
                panic!()
            };
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| (key.value.as_str(), value.value.as_str())).collect();
            assert_eq!(pairs, expected, "{keyword} {text}");
        }
    }
    let Kind::Arg(arguments) = kind("ARG a b= c=\"d e\" f=$a") else { panic!() };
    let arguments: Vec<_> =
        arguments.iter().map(|argument| (argument.name.value.as_str(), value(&argument.default))).collect();
    assert_eq!(arguments, [("a", None), ("b", Some("")), ("c", Some("\"d e\"")), ("f", Some("$a"))]);
}

#[test]
fn plain_instructions() {
    let text = |kind: Kind| match kind {
        Kind::Workdir(word) | Kind::User(word) | Kind::StopSignal(word) | Kind::Maintainer(word) => {
            word.value
        }
        Kind::Expose(words) | Kind::Volume(words) => values(&words).join("|"),
        other => panic!("{other:?}"),
    };
    let table = [
        ("WORKDIR /a b", "/a b"),
        ("USER $USER:$GROUP", "$USER:$GROUP"),
        ("STOPSIGNAL SIGTERM", "SIGTERM"),
        ("MAINTAINER A <a@b>", "A <a@b>"),
        ("EXPOSE 80 443/tcp 8000-8010/udp $P", "80|443/tcp|8000-8010/udp|$P"),
        ("VOLUME /a  /b", "/a|/b"),
        ("VOLUME [\"/a b\", \" /c \"]", "/a b|/c"),
    ];
    for (input, expected) in table {
        assert_eq!(text(kind(input)), expected, "{input}");
    }
}

#[test]
fn healthchecks() {
    let cmd = |command, interval, timeout, start_period, start_interval, retries| Healthcheck::Cmd {
        command,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    };
    let second = 1_000_000_000;
    let table = [
        ("NONE", Healthcheck::None),
        ("none", Healthcheck::None),
        ("CMD a b", cmd(shell("a b"), None, None, None, None, None)),
        ("cmd [\"a\"]", cmd(exec(&["a"]), None, None, None, None, None)),
        (
            "--interval=1m30s --timeout=1.5s --start-period=2h --start-interval=1ms --retries=3 \\\n CMD a",
            cmd(
                shell("a"),
                Some(90 * second),
                Some(3 * second / 2),
                Some(7200 * second),
                Some(1_000_000),
                Some(3),
            ),
        ),
        // Nothing and 0 stand for the defaults.
        ("--interval=0s --timeout= --retries=0 CMD a", cmd(shell("a"), None, None, None, None, None)),
        (
            "--interval=1h1m1s1ms1us1ns CMD a",
            cmd(shell("a"), Some(3_661_001_001_001), None, None, None, None),
        ),
        ("--interval=.5s CMD a", cmd(shell("a"), Some(second / 2), None, None, None, None)),
    ];
    for (text, expected) in table {
        assert_eq!(kind(&format!("HEALTHCHECK {text}")), Kind::Healthcheck(expected), "{text}");
    }
}

/// (operators, lines below, (name, body, expand, fd) of each)
type HeredocRow<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str, bool, u32)]);

#[test]
fn heredocs_of_run() {
    let table: [HeredocRow<'_>; 19] = [
        ("<<EOF", "a\n b\nEOF", &[("EOF", "a\n b\n", true, 0)]),
        ("<<EOF", "EOF", &[("EOF", "", true, 0)]),
        ("<<EOF", "a\r\nEOF\r\n", &[("EOF", "a\r\n", true, 0)]),
        ("<<EOF", "# a\n\nb \\\nEOF", &[("EOF", "# a\n\nb \\\n", true, 0)]),
        ("<<EOF", " EOF\nEOF \nEOF", &[("EOF", " EOF\nEOF \n", true, 0)]),
        ("<<-EOF", "\t\ta\n\t b\tc\n\tEOF", &[("EOF", "a\n b\tc\n", true, 0)]),
        ("<<'EOF'", "$a\nEOF", &[("EOF", "$a\n", false, 0)]),
        ("<<-\"EOF\"", "EOF", &[("EOF", "", false, 0)]),
        ("<<E'O'F", "EOF", &[("EOF", "", false, 0)]),
        ("<<EO\\'F", "EO'F", &[("EO'F", "", true, 0)]),
        ("<<'one two'", "one two", &[("one two", "", false, 0)]),
        ("<< EOF", "EOF", &[("EOF", "", true, 0)]),
        ("<<$EOF", "$EOF", &[("$EOF", "", true, 0)]),
        ("3<<EOF cat", "a\nEOF", &[("EOF", "a\n", true, 3)]),
        ("cat <<A <<-B >c", "1\nB\nA\n2\nB", &[("A", "1\nB\n", true, 0), ("B", "2\n", true, 0)]),
        ("cat <<EOF \\\n  | sort", "a\nEOF", &[("EOF", "a\n", true, 0)]),
        ("--mount=type=tmpfs,target=/t <<EOF", "EOF", &[("EOF", "", true, 0)]),
        ("x=${y:-z}; cat <<EOF", "EOF", &[("EOF", "", true, 0)]),
        ("echo \"it's\" <<EOF", "EOF", &[("EOF", "", true, 0)]),
    ];
    for (line, below, expected) in table {
        let run = run(&format!("RUN {line}\n{below}"));
        let found: Vec<_> = run
            .heredocs
            .iter()
            .map(|heredoc| (heredoc.name.as_str(), heredoc.body.as_str(), heredoc.expand, heredoc.fd))
            .collect();
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn no_heredocs() {
    for line in [
        "RUN \"<<EOF\"",
        "RUN '<<EOF'",
        "RUN a <<<EOF",
        "RUN $((1<<2))",
        "RUN a<<EOF",
        "RUN \\<<EOF",
        "RUN [\"<<EOF\"]",
        "RUN it's <<EOF",
        "RUN ${x@Q} <<EOF",
        "RUN a <<",
        "USER <<EOF",
        "COPY [\"<<EOF\", \"/x\"]",
    ] {
        assert!(kind(line).heredocs().is_empty(), "{line}");
    }
}

#[test]
fn heredocs_of_copy() {
    let copy = copy("COPY --chown=1 <<a.txt file <<-'b' /dest/\nA $x\na.txt\n\tB\nb");
    assert_eq!((values(&copy.sources), copy.destination.value.as_str()), (vec!["file"], "/dest/"));
    let bodies: Vec<_> = copy.heredocs.iter().map(|h| (h.name.as_str(), h.body.as_str(), h.expand)).collect();
    assert_eq!(bodies, [("a.txt", "A $x\n", true), ("b", "B\n", false)]);
    let spaced = self::copy("COPY << 'a b' /d\nx\na b");
    assert_eq!((spaced.sources.len(), spaced.heredocs[0].name.as_str()), (0, "a b"));
}

#[test]
fn scripts() {
    let script = |text: &str| match run(text).script() {
        None => "exec".to_owned(),
        Some(Script::Shell(text)) => format!("shell {text}"),
        Some(Script::Program(Heredoc { name, body, .. })) => format!("program {name} {body}"),
    };
    let table = [
        ("RUN a b", "shell a b"),
        ("RUN [\"a\"]", "exec"),
        ("RUN <<EOF\na\nb\nEOF", "shell a\nb\n"),
        ("RUN <<-EOF\n\ta\nEOF", "shell a\n"),
        ("RUN <<'EOF'\n#!/usr/bin/python3\nx\nEOF", "program EOF #!/usr/bin/python3\nx\n"),
        ("RUN <<EOF cat\nx\nEOF", "shell <<EOF cat\nx\nEOF"),
        ("RUN cat <<A <<B\n1\nA\n2\nB", "shell cat <<A <<B\n1\nA\n2\nB"),
    ];
    for (text, expected) in table {
        assert_eq!(script(text), expected, "{text}");
    }
}

#[test]
fn triggers() {
    let table = [
        ("ONBUILD RUN a  b", "RUN a  b"),
        ("onbuild   copy . \\\n  /x ", "copy .   /x "),
        ("ONBUILD RUN <<-A <<B\n\tx\n\tA\ny\nB\n", "RUN <<-A <<B\n\tx\nA\ny\nB"),
        ("ONBUILD ENV a=b", "ENV a=b"),
        // Blanks at the end stay, the delimiter stands alone.
        ("ONBUILD RUN a  \n", "RUN a  "),
        ("ONBUILD COPY <<-A <<B /\n\ta\n\tA\nb\r\nB\r\n", "COPY <<-A <<B /\n\ta\nA\nb\r\nB"),
    ];
    for (line, expected) in table {
        let Kind::OnBuild { instruction, text } = kind(line) else { panic!("{line}") };
        assert_eq!(text, expected, "{line}");
        // What an image stores means the same when it is read back.
        let read_back = parse_onbuild(&text).unwrap();
        assert_eq!(read_back.line, instruction.line);
        assert_eq!(read_back.kind.heredocs().len(), instruction.kind.heredocs().len());
    }
    let trigger = parse_onbuild("RUN a").unwrap();
    assert_eq!(trigger.kind, Kind::Run(run("RUN a")));
}
