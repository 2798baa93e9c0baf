"""What a person looks at: figures and the self-contained HTML report. Arrays and text in, pictures and pages out."""
