fn main() -> anyhow::Result<()> {
    let (dp, _e, p) = vipd::dataplane::Dataplane::load(std::path::Path::new("/sys/fs/bpf/vipdtest"))?;
    println!("{p:?} {dp:?}");
    println!("{:?}", std::fs::read_dir("/sys/fs/bpf/vipdtest/vipd/v1")?.map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
    if std::env::args().count() < 2 { dp.remove()?; }
    Ok(())
}
