"""Built-in plugins: backbones, evidence and methods. Each imports ``gendet_cli.plugin.api`` only."""
